/** What each family's config means where it is silent, and what is refused. The goldens say that the arithmetic is right. */
import { describe, expect, it } from 'vitest'
import { findArchitecture } from '../../src/architectures/index.js'
import type { Checkpoint, GgufValue } from '../../src/formats/checkpoint.js'
import { compilePlan } from '../../src/graph/compile.js'
import type { Rope } from '../../src/graph/builder.js'
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
  it('reads LongRoPE under both of its names, with the lengths beside the scaling or inside it', async () => {
    const factors = { long_factor: Array.from({ length: 8 }, (_, i) => 2 + i), short_factor: Array.from({ length: 8 }, () => 1.5) }
    const scale = Math.fround(Math.sqrt(1 + Math.log(8) / Math.log(16)))
    const lengths = { original_max_position_embeddings: 16 }
    for (const config of [
      { rope_scaling: { type: 'longrope', ...factors }, ...lengths },
      { rope_scaling: { type: 'su', ...factors }, ...lengths },
      { rope_parameters: { rope_type: 'longrope', rope_theta: 10000, ...factors, ...lengths } },
    ]) {
      const { rope } = (await read('phi3', config)) as { rope: Rope }
      expect(rope).toMatchObject({ scale, long: { shortLength: 16 } })
      expect(rope.frequencies[0]).toBe(Math.fround(1 / 1.5))
      expect(rope.long!.frequencies[7]).toBe(Math.fround(10000 ** (-14 / 16) / 9))
    }
    const given = { type: 'longrope', ...factors, attention_factor: 1.25 }
    expect(await read('phi3', { rope_scaling: given, ...lengths })).toMatchObject({ rope: { scale: 1.25 } })
  })
  it('rejects LongRoPE with factors that are none, too few or no list', async () => {
    const eight = Array.from({ length: 8 }, () => 1)
    for (const [field, list] of [['long_factor', [1]], ['short_factor', []], ['long_factor', undefined], ['short_factor', 'x'],
      ['long_factor', [...eight.slice(1), 0]], ['short_factor', [...eight.slice(1), NaN]]] as const) {
      const rope_scaling = { type: 'longrope', long_factor: eight, short_factor: eight, [field]: list }
      await expect(read('phi3', { rope_scaling, original_max_position_embeddings: 16 })).rejects.toThrow(invalid(field))
    }
  })
  it('does not guess at partial rotation', async () => {
    await expect(read('phi3', { partial_rotary_factor: 0.75 })).rejects.toThrow(unsupported('partial_rotary_factor'))
  })
  it('does not guess at LongRoPE of GGUF that lacks a part', async () => {
    const made = ggufOf('phi3')
    const factors = madeGguf({}, { 'rope_factors_long.weight': ['f32', [8]], ...llamaTensors() })
    const refused = readConfig({ ...made, tensors: factors.tensors })
    await expect(refused).rejects.toThrow(expect.objectContaining({ code: 'TENSOR_MISSING' }))
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

describe('gemma2', () => {
  it('has a window in every other layer, from the first on, or where layer_types says', async () => {
    const silent = { hidden_act: undefined, head_dim: undefined }
    expect(await read('gemma2', silent)).toMatchObject({ headDim: 256, windows: [4096, 0, 4096, 0], tiedEmbeddings: true })
    expect(await read('gemma2', { ...silent, sliding_window: 8 })).toMatchObject({ windows: [8, 0, 8, 0] })
    const layer_types = ['full_attention', 'full_attention', 'sliding_attention', 'full_attention']
    expect(await read('gemma2', { ...silent, sliding_window: 8, layer_types })).toMatchObject({ windows: [0, 0, 8, 0] })
  })
  it('has the published caps where nothing is said, and none where they are null', async () => {
    const silent = { hidden_act: undefined }
    expect(await read('gemma2', silent)).toMatchObject({ attentionSoftcap: 50, logitSoftcap: 30, attentionScale: 1 / 16 })
    const none = { attn_logit_softcapping: null, final_logit_softcapping: null, query_pre_attn_scalar: 144 }
    expect(await read('gemma2', { ...silent, ...none })).toMatchObject({ attentionSoftcap: 0, logitSoftcap: 0, attentionScale: 1 / 12 })
    await expect(read('gemma2', { ...silent, attn_logit_softcapping: -1 })).rejects.toThrow(invalid('attn_logit_softcapping'))
  })
  it('has windows and caps of its own in GGUF', async () => {
    expect(await readConfig(ggufOf('gemma2', { 'attn_logit_softcapping': 20, 'attention.sliding_window': 8 }))).toMatchObject({
      attentionSoftcap: 20,
      logitSoftcap: 30,
      windows: [8, 0],
    })
  })
})

describe('gpt2', () => {
  const config = {
    ...Object.fromEntries(['hidden_size', 'intermediate_size', 'num_hidden_layers', 'num_attention_heads'].map((key) => [key, undefined])),
    ...{ max_position_embeddings: undefined, tie_word_embeddings: undefined, hidden_act: undefined },
    ...{ n_embd: 64, n_head: 4, n_layer: 3, n_positions: 128 },
  }
  it('reads its own names and those of other families', async () => {
    const expected = { dim: 64, nHeads: 4, nLayers: 3, contextLength: 128, ffnDim: 256, normEps: 1e-5, tiedEmbeddings: true }
    expect(await read('gpt2', config)).toMatchObject({ ...expected, activation: 'geluTanh', attentionScales: [0.25, 0.25, 0.25] })
    expect(await read('gpt2', { ...config, n_inner: null })).toMatchObject({ ffnDim: 256 })
    expect(await read('gpt2', { ...config, n_inner: 96, n_layer: undefined, num_hidden_layers: 2 })).toMatchObject({ ffnDim: 96, nLayers: 2 })
  })
  it('scales scores as its flags say', async () => {
    expect(await read('gpt2', { ...config, scale_attn_weights: false })).toMatchObject({ attentionScales: [1, 1, 1] })
    const byLayer = await read('gpt2', { ...config, scale_attn_by_inverse_layer_idx: true })
    expect(byLayer).toMatchObject({ attentionScales: [0.25, 0.125, 0.25 / 3] })
  })
  it('knows the exact form of gelu from the other, and no other activation', async () => {
    expect(await read('gpt2', { ...config, activation_function: 'gelu' })).toMatchObject({ activation: 'gelu' })
    await expect(read('gpt2', { ...config, activation_function: 'relu' })).rejects.toThrow(unsupported('activation_function'))
    await expect(read('gpt2', { ...config, n_head: 5 })).rejects.toThrow(invalid('n_head'))
  })
})

describe('mixtures of experts', () => {
  it('read how many experts there are and how many of them are chosen, by both names', async () => {
    expect(await read('mixtral')).toMatchObject({ nExperts: 8, nActiveExperts: 2 })
    expect(await read('qwen3_moe')).toMatchObject({ nExperts: 128, nActiveExperts: 8, expertFfnDim: 768, gating: 'softmax' })
    const sizes = { num_experts_per_tok: 3, norm_topk_prob: true }
    expect(await read('qwen3_moe', { num_experts: 9, ...sizes })).toMatchObject({ nExperts: 9, nActiveExperts: 3, gating: 'softmaxOfChosen' })
    expect(await read('qwen3_moe', { num_local_experts: 9, ...sizes })).toMatchObject({ nExperts: 9 })
    const experts = { expert_count: 4, expert_used_count: 2, expert_feed_forward_length: 24 }
    expect(await readConfig(ggufOf('qwen3moe', experts))).toMatchObject({ nExperts: 4, nActiveExperts: 2, sparse: [false, false] })
  })
  it('reject more chosen ones than there are, and a family that has none', async () => {
    await expect(read('mixtral', { num_local_experts: 2, num_experts_per_tok: 3 })).rejects.toThrow(invalid('num_experts_per_tok'))
    await expect(read('mixtral', { num_local_experts: 0 })).rejects.toThrow(invalid('num_local_experts'))
    await expect(readConfig(ggufOf('qwen3', { expert_count: 4 }))).rejects.toThrow(unsupported('qwen3.expert_count'))
  })
  it('qwen3_moe has experts in every layer, in some, and in none that is listed', async () => {
    expect(await read('qwen3_moe')).toMatchObject({ sparse: [true, true, true, true] })
    expect(await read('qwen3_moe', { decoder_sparse_step: 2 })).toMatchObject({ sparse: [false, true, false, true] })
    expect(await read('qwen3_moe', { mlp_only_layers: [0, 2] })).toMatchObject({ sparse: [false, true, false, true] })
    await expect(read('qwen3_moe', { mlp_only_layers: 'none' })).rejects.toThrow(invalid('mlp_only_layers'))
  })
})
