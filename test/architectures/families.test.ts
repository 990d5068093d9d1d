/** What each family's config means where it is silent, and what is refused. The goldens say that the arithmetic is right. */
import { describe, expect, it } from 'vitest'
import { findArchitecture } from '../../src/architectures/index.js'
import type { Checkpoint, GgufValue } from '../../src/formats/checkpoint.js'
import { compilePlan } from '../../src/graph/compile.js'
import { llamaTensors, madeGguf, madeLlama } from '../support/made-checkpoints.js'

const invalid = (field: string) => expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringContaining(field) })
const unsupported = (field: string) =>
  expect.objectContaining({ code: 'FORMAT_UNSUPPORTED', message: expect.stringContaining(field) })

const readConfig = async (checkpoint: Checkpoint): Promise<unknown> => findArchitecture(checkpoint).readConfig(checkpoint)
/** A config of four layers; undefined removes a field. */
const read = (family: string, changes: Record<string, unknown> = {}) =>
  readConfig(madeLlama({ model_type: family, num_hidden_layers: 4, ...changes }))

/** The made GGUF under another family's name. */
function ggufOf(family: string, changes: Readonly<Record<string, GgufValue>> = {}): Checkpoint {
  const made = madeGguf()
  if (made.config.from !== 'gguf') throw new Error('not GGUF')
  const metadata = new Map([...made.config.metadata].map(([key, value]) => [key.replace(/^llama\./, `${family}.`), value]))
  metadata.set('general.architecture', family)
  for (const [key, value] of Object.entries(changes)) metadata.set(`${family}.${key}`, value)
  return { ...made, modelType: family, config: { ...made.config, metadata } }
}

for (const family of ['qwen2', 'qwen3']) {
  describe(family, () => {
    const windows = async (changes: Record<string, unknown>) =>
      ((await read(family, changes)) as { windows: number[] }).windows

    it('has no window unless its config says that it uses one', async () => {
      expect(await windows({ sliding_window: 8, max_window_layers: 0 })).toEqual([0, 0, 0, 0])
      expect(await windows({ sliding_window: 8, max_window_layers: 0, use_sliding_window: false })).toEqual([0, 0, 0, 0])
    })
    it('has windows from layer max_window_layers on, or where layer_types says', async () => {
      const used = { use_sliding_window: true, sliding_window: 8 }
      expect(await windows({ ...used, max_window_layers: 3 })).toEqual([0, 0, 0, 8])
      expect(await windows({ ...used, max_window_layers: 0 })).toEqual([8, 8, 8, 8])
      expect(await windows(used)).toEqual([0, 0, 0, 0])
      const layer_types = ['sliding_attention', 'full_attention', 'full_attention', 'sliding_attention']
      expect(await windows({ ...used, layer_types })).toEqual([8, 0, 0, 8])
    })
    it('rejects layer_types that contradict use_sliding_window or are no list', async () => {
      const layer_types = Array.from({ length: 4 }, () => 'sliding_attention')
      await expect(windows({ layer_types })).rejects.toThrow(invalid('layer_types'))
      await expect(windows({ layer_types: 'full_attention' })).rejects.toThrow(invalid('layer_types'))
    })
    it('does not guess at a window of GGUF', async () => {
      expect(await readConfig(ggufOf(family))).toMatchObject({ windows: [0, 0] })
      const refused = readConfig(ggufOf(family, { 'attention.sliding_window': 8 }))
      await expect(refused).rejects.toThrow(unsupported(`${family}.attention.sliding_window`))
    })
  })
}

it('qwen2 requires the biases of q, k and v', () => {
  const missing = expect.objectContaining({ code: 'TENSOR_MISSING', message: expect.stringContaining('q_proj.bias') })
  return expect(compilePlan(madeLlama({ model_type: 'qwen2' }))).rejects.toThrow(missing)
})
it('qwen3 has heads of 128 where nothing is said', async () => {
  expect(await read('qwen3', { head_dim: undefined })).toMatchObject({ headDim: 128 })
})

describe('phi3', () => {
  it('has a window in every layer where the config has one', async () => {
    expect(await read('phi3', { sliding_window: 8 })).toMatchObject({ window: 8 })
    expect(await read('phi3', { sliding_window: null })).toMatchObject({ window: 0 })
    expect(await readConfig(ggufOf('phi3', { 'attention.sliding_window': 8 }))).toMatchObject({ window: 8 })
  })
  it('has the window of the published models where an old GGUF file has no field for it', async () => {
    expect(await readConfig(ggufOf('phi3', { context_length: 4096 }))).toMatchObject({ window: 2047 })
    const without = { 'context_length': 4096, 'attention.sliding_window': 0 }
    expect(await readConfig(ggufOf('phi3', without))).toMatchObject({ window: 0 })
    expect(await readConfig(ggufOf('phi3'))).toMatchObject({ window: 0 })
  })
  it('does not guess at LongRoPE or partial rotation', async () => {
    for (const type of ['longrope', 'su']) {
      const rope_scaling = { type, long_factor: [1], short_factor: [1] }
      await expect(read('phi3', { rope_scaling })).rejects.toThrow(unsupported('rope_scaling.type'))
    }
    await expect(read('phi3', { partial_rotary_factor: 0.75 })).rejects.toThrow(unsupported('partial_rotary_factor'))
  })
  it('does not guess at LongRoPE of GGUF, by its tensors or its factor', async () => {
    const made = ggufOf('phi3')
    const factors = madeGguf({}, { 'rope_factors_long.weight': ['f32', [8]], ...llamaTensors() })
    const refused = readConfig({ ...made, tensors: factors.tensors })
    await expect(refused).rejects.toThrow(unsupported('rope_factors_long.weight'))
    const scaled = readConfig(ggufOf('phi3', { 'rope.scaling.attn_factor': 1.19 }))
    await expect(scaled).rejects.toThrow(unsupported('phi3.rope.scaling.attn_factor'))
  })
  it('reads q, k and v as rows of one matrix, and gate and up of another', async () => {
    const tensors = Object.fromEntries(
      Object.entries(llamaTensors('q8_0')).flatMap(([name, entry]) => {
        if (name.endsWith('q_proj.weight')) return [[name.replace('q_proj', 'qkv_proj'), ['q8_0', [128, 64]] as const]]
        const fused = name.replace('gate_proj', 'gate_up_proj')
        if (fused !== name) return [[fused, ['q8_0', [192, 64]] as const]]
        return /[kv]_proj|up_proj/.test(name) ? [] : [[name, entry] as const]
      }),
    )
    const { weights, steps } = await compilePlan(madeLlama({ model_type: 'phi3' }, tensors))
    const rows = (stem: string) => {
      const name = `model.layers.1.${stem}.weight`
      const read = weights.flatMap((weight) => (weight.name === name && 'offset' in weight ? [weight] : []))
      return read.map(({ offset, shape }) => [(offset - read[0]!.offset) / 68, shape])
    }
    expect(rows('self_attn.qkv_proj')).toEqual([
      [0, [64, 64]],
      [64, [32, 64]],
      [96, [32, 64]],
    ])
    expect(rows('mlp.gate_up_proj')).toEqual([
      [0, [96, 64]],
      [96, [96, 64]],
    ])
    // One matmul each, as for families that store them apart.
    expect(steps.filter(({ op, label }) => op === 'linear' && label.startsWith('model.layers.1.'))).toHaveLength(4)
  })
  it('rejects a matrix with another number of rows', () => {
    const tensors = { ...llamaTensors(), 'model.layers.0.self_attn.qkv_proj.weight': ['f32', [96, 64]] as const }
    const wrong = expect.objectContaining({ code: 'TENSOR_SHAPE', message: expect.stringContaining('qkv_proj') })
    return expect(compilePlan(madeLlama({ model_type: 'phi3' }, tensors))).rejects.toThrow(wrong)
  })
})

describe('gemma', () => {
  it('means the tanh form where an old config says gelu', async () => {
    const config = await read('gemma', { hidden_act: 'gelu', head_dim: undefined, tie_word_embeddings: undefined })
    expect(config).toMatchObject({ headDim: 256, tiedEmbeddings: true })
  })
  it('does not guess at other activations, or at attention in both directions', async () => {
    await expect(read('gemma', { hidden_act: 'silu' })).rejects.toThrow(unsupported('hidden_act'))
    const exact = read('gemma', { hidden_act: 'gelu', hidden_activation: 'gelu' })
    await expect(exact).rejects.toThrow(unsupported('hidden_activation'))
    const both = read('gemma', { hidden_act: 'gelu', use_bidirectional_attention: true })
    await expect(both).rejects.toThrow(unsupported('use_bidirectional_attention'))
  })
})

describe('smollm3', () => {
  it('turns all layers but every fourth, or as the config says', async () => {
    expect(await read('smollm3')).toMatchObject({ rotary: [true, true, true, false] })
    expect(await read('smollm3', { no_rope_layer_interval: 2 })).toMatchObject({ rotary: [true, false, true, false] })
    expect(await read('smollm3', { no_rope_layers: [0, 1, 1, 0] })).toMatchObject({ rotary: [false, true, true, false] })
  })
  it('rejects layers that do not fit, and does not guess at windows', async () => {
    for (const no_rope_layers of [[1], [1, 1, 1, 2], 'none', {}]) {
      await expect(read('smollm3', { no_rope_layers })).rejects.toThrow(invalid('no_rope_layers'))
    }
    await expect(read('smollm3', { use_sliding_window: true })).rejects.toThrow(unsupported('use_sliding_window'))
    const layer_types = Array.from({ length: 4 }, () => 'sliding_attention')
    await expect(read('smollm3', { layer_types })).rejects.toThrow(unsupported('layer_types'))
  })
})
