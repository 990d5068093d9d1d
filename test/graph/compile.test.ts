import { describe, expect, it } from 'vitest'
import { unusedTensors } from '../../src/graph/builder.js'
import { compilePlan } from '../../src/graph/compile.js'
import { llamaTensors, madeGguf, madeLlama } from '../support/made-checkpoints.js'

describe('compilePlan', () => {
  it('makes plain data that survives JSON', async () => {
    const plan = await compilePlan(madeLlama())
    expect(JSON.parse(JSON.stringify(plan))).toEqual(plan)
    expect(plan).toMatchObject({
      version: 1,
      architecture: 'llama',
      vocabSize: 50,
      contextLength: 128,
      outputs: [{ name: 'logits' }],
    })
  })
  it('fuses a layer of float weights into ten steps', async () => {
    const { steps } = await compilePlan(madeLlama())
    const layer = steps.filter((step) => step.label.startsWith('model.layers.1.')).map((step) => step.op)
    expect(layer).toEqual([
      'rmsNorm',
      'linear',
      'rope',
      'rope',
      'kvWrite',
      'attention',
      'linear',
      'rmsNorm',
      'linear',
      'linear',
    ])
  })
  it('adds a quantize step only where no norm makes the input', async () => {
    const { steps, values } = await compilePlan(madeLlama({}, llamaTensors('q8_0')))
    const layer = steps.filter((step) => step.label.startsWith('model.layers.1.'))
    expect(layer.map((step) => step.op)).toEqual([
      'rmsNorm',
      'linear',
      'rope',
      'rope',
      'kvWrite',
      'attention',
      'quantize',
      'linear',
      'rmsNorm',
      'linear',
      'quantize',
      'linear',
    ])
    expect(values[(layer[0]!.outputs.out as number[])[0]!]!.type).toBe('a8_32')
  })
  it('gives mixed types one input each', async () => {
    const { steps, values } = await compilePlan(madeLlama({}, llamaTensors('q8_0', { 'self_attn.v_proj': 'bf16' })))
    const qkv = steps.find((step) => step.label.endsWith('self_attn.{q,k,v}_proj'))!
    expect((qkv.inputs.x as number[]).map((id) => values[id]!.type)).toEqual(['f32', 'a8_32'])
  })
  it('runs the head alone at the end, one row per output', async () => {
    const { steps, headStep, values } = await compilePlan(madeLlama())
    expect(steps.slice(headStep).map((step) => step.op)).toEqual(['outputRows', 'rmsNorm', 'linear'])
    expect(values.filter(({ rows }) => rows === 'outputs')).toHaveLength(3)
  })
  it('captures every hidden state when asked to, and none otherwise', async () => {
    const names = async (capture: boolean) => (await compilePlan(madeLlama(), { capture })).outputs.map(({ name }) => name)
    expect(await names(false)).toEqual(['logits'])
    expect((await names(true)).sort()).toEqual(['hidden_states.0', 'hidden_states.1', 'hidden_states.2', 'logits'])
  })
  it('takes the pairing of rotated dimensions from the format', async () => {
    const pairings = async (plan: ReturnType<typeof compilePlan>) =>
      new Set((await plan).steps.flatMap((step) => step.attributes.pairing ?? []))
    expect(await pairings(compilePlan(madeLlama()))).toEqual(new Set(['half']))
    expect(await pairings(compilePlan(madeGguf()))).toEqual(new Set(['interleaved']))
  })
  it('names a tensor that is missing', () => {
    const { 'model.layers.1.mlp.up_proj.weight': _, ...others } = llamaTensors()
    return expect(compilePlan(madeLlama({}, others))).rejects.toThrow(/no tensor "model\.layers\.1\.mlp\.up_proj\.weight"/)
  })
  it('names a tensor that does not fit the config', () => {
    return expect(compilePlan(madeLlama({ intermediate_size: 95 }))).rejects.toThrow(
      expect.objectContaining({ code: 'TENSOR_SHAPE' }),
    )
  })
  it('refuses a tensor of a layer, or a bias, that it would pass over', async () => {
    const strange = [
      'model.layers.1.self_attn.q_norm.weight',
      'model.layers.0.mlp.down_proj.bias',
      'model.norm.bias',
      'blk.0.attn_sinks.weight',
    ]
    for (const name of strange) {
      const checkpoint = madeLlama({}, { ...llamaTensors(), [name]: ['f32', [64]] })
      await expect(compilePlan(checkpoint), name).rejects.toThrow(expect.objectContaining({ code: 'FORMAT_UNSUPPORTED' }))
    }
  })
  it('leaves alone what is not part of the text model', async () => {
    const spare = [
      'lm_head.weight',
      'score.weight',
      'model.layers.2.mlp.up_proj.weight',
      'model.layers.0.self_attn.rotary_emb.inv_freq',
    ]
    const tensors = Object.fromEntries(spare.map((name) => [name, ['f32', [64]] as const]))
    const checkpoint = madeLlama({}, { ...llamaTensors(), ...tensors })
    expect(unusedTensors(checkpoint, await compilePlan(checkpoint))).toEqual(spare)
  })
  it('reads biases that the config promises', () => {
    return expect(compilePlan(madeLlama({ attention_bias: true }))).rejects.toThrow(/q_proj\.bias/)
  })
  it('stays fast for many layers', async () => {
    const started = performance.now()
    const tensors = Object.fromEntries(
      Object.entries(llamaTensors('q8_0')).flatMap(([name, tensor]) => {
        if (!name.startsWith('model.layers.0.')) return name.startsWith('model.layers.') ? [] : [[name, tensor]]
        return Array.from({ length: 128 }, (_, layer) => [name.replace('.0.', `.${layer}.`), tensor])
      }),
    )
    const plan = await compilePlan(madeLlama({ num_hidden_layers: 128 }, tensors))
    expect(plan.kv.groups[0]!.layers).toHaveLength(128)
    expect(performance.now() - started).toBeLessThan(2000)
  })
})
