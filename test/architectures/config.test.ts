import { describe, expect, it } from 'vitest'
import { readDecoderConfig } from '../../src/architectures/architecture.js'
import { show } from '../../src/architectures/config-fields.js'
import { architectures, findArchitecture } from '../../src/architectures/index.js'
import type { Checkpoint } from '../../src/formats/checkpoint.js'
import { compilePlan } from '../../src/graph/compile.js'
import { madeGguf, madeLlama, madeOf } from '../support/made-checkpoints.js'

const invalid = (field: string) => expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringContaining(field) })
const unsupported = (field: string) =>
  expect.objectContaining({ code: 'FORMAT_UNSUPPORTED', message: expect.stringContaining(field) })
const config = (changes: Record<string, unknown> = {}) => readDecoderConfig(madeLlama(changes))
const gguf = (changes: Parameters<typeof madeGguf>[0] = {}) => readDecoderConfig(madeGguf(changes))

describe('readDecoderConfig', () => {
  it('reads Hugging Face keys', async () => {
    expect(await config()).toMatchObject({
      dim: 64,
      ffnDim: 96,
      nLayers: 2,
      nHeads: 4,
      nKvHeads: 2,
      headDim: 16,
      vocabSize: 50,
      contextLength: 128,
      normEps: 1e-5,
      ropeTheta: 10000,
      tiedEmbeddings: true,
      attentionBias: false,
      window: 0,
    })
  })
  it('reads GGUF keys, and takes the vocabulary and the tied output from the tensors', async () => {
    expect(await gguf()).toMatchObject({
      dim: 64,
      ffnDim: 96,
      nLayers: 2,
      nHeads: 4,
      nKvHeads: 2,
      headDim: 16,
      vocabSize: 50,
      contextLength: 128,
      ropeTheta: 10000,
      tiedEmbeddings: true,
      attentionBias: 'optional',
    })
  })
  it('fills in what Hugging Face has defaults for', async () => {
    const changes = {
      num_key_value_heads: undefined,
      head_dim: undefined,
      rms_norm_eps: undefined,
      rope_theta: undefined,
      tie_word_embeddings: undefined,
    }
    expect(await config(changes)).toMatchObject({
      nKvHeads: 4,
      headDim: 16,
      normEps: 1e-6,
      ropeTheta: 10000,
      tiedEmbeddings: false,
    })
  })
  it('reads the base of positions in the style of transformers 5', async () => {
    expect(await config({ rope_theta: undefined, rope_parameters: { rope_theta: 500, rope_type: 'default' } })).toMatchObject({
      ropeTheta: 500,
    })
  })

  for (const field of ['hidden_size', 'intermediate_size', 'num_hidden_layers', 'num_attention_heads', 'vocab_size']) {
    it(`requires ${field}`, () => expect(config({ [field]: undefined })).rejects.toThrow(invalid(field)))
    for (const value of [0, -1, 1.5, '64', 2 ** 40, true, [64], {}]) {
      it(`rejects ${JSON.stringify(value)} as ${field}`, () =>
        expect(config({ [field]: value })).rejects.toThrow(invalid(field)))
    }
  }
  for (const key of [
    'embedding_length',
    'feed_forward_length',
    'block_count',
    'attention.head_count',
    'context_length',
    'attention.layer_norm_rms_epsilon',
  ]) {
    it(`requires ${key} of GGUF`, () => expect(gguf({ [`llama.${key}`]: undefined })).rejects.toThrow(invalid(`llama.${key}`)))
    it(`rejects a text as ${key}`, () => expect(gguf({ [`llama.${key}`]: 'many' })).rejects.toThrow(invalid(`llama.${key}`)))
  }
  it('rejects heads that cannot share KV heads', () =>
    expect(config({ num_key_value_heads: 3 })).rejects.toThrow(invalid('num_key_value_heads')))
  it('rejects an odd head size', () => expect(config({ head_dim: 15 })).rejects.toThrow(invalid('head_dim')))
  it('rejects a norm without a positive epsilon', async () => {
    for (const eps of [0, -1e-6, 'small']) await expect(config({ rms_norm_eps: eps })).rejects.toThrow(invalid('rms_norm_eps'))
  })
  it('rejects more layers than any model has', () =>
    expect(config({ num_hidden_layers: 100000 })).rejects.toThrow(invalid('num_hidden_layers')))

  const unknown: [string, unknown][] = [
    ['hidden_act', 'relu'],
    ['final_logit_softcapping', 30],
    ['attn_logit_softcapping', 50],
    ['partial_rotary_factor', 0.5],
    ['text_config', {}],
  ]
  for (const [field, value] of unknown)
    it(`does not guess at ${field}`, () => expect(config({ [field]: value })).rejects.toThrow(unsupported(field)))
  for (const key of ['expert_count', 'attention.max_alibi_bias', 'residual_scale', 'final_logit_softcapping']) {
    it(`does not guess at ${key} of GGUF`, () =>
      expect(gguf({ [`llama.${key}`]: 8 })).rejects.toThrow(unsupported(`llama.${key}`)))
  }
  it('rejects keys and values of different sizes', () =>
    expect(gguf({ 'llama.attention.value_length': 8 })).rejects.toThrow(invalid('value_length')))
  it('refuses a family whose conventions are not known', async () => {
    await expect(readDecoderConfig({ ...madeLlama(), conventions: null })).rejects.toThrow(unsupported('model type'))
  })
})

describe('architectures', () => {
  it('names each model type once', () => {
    const types = architectures.flatMap(({ modelTypes }) => modelTypes)
    expect(new Set(types).size).toBe(types.length)
  })
  it('names what is known when it meets something else', () => {
    const strange = madeOf({}, { modelType: 'mamba9' })
    expect(() => findArchitecture(strange)).toThrow(/"mamba9".*gemma3, gemma3_text, gpt2, llama, mistral, mixtral, phi3, qwen2/)
    expect(() => findArchitecture(strange)).toThrow(expect.objectContaining({ code: 'ARCHITECTURE_UNKNOWN' }))
  })
  it('gives mistral a window in every layer', async () => {
    const plan = await compilePlan(madeLlama({ model_type: 'mistral', sliding_window: 8 }))
    expect(plan.kv.groups).toEqual([{ layers: [0, 1], window: 8 }])
  })
  it('gives llama none, whatever its config says', async () => {
    expect((await compilePlan(madeLlama({ sliding_window: 8 }))).kv.groups).toEqual([{ layers: [0, 1], window: 0 }])
  })
})

describe('gemma3', () => {
  const gemma = (changes: Record<string, unknown>): Checkpoint =>
    madeLlama({ model_type: 'gemma3_text', hidden_act: undefined, hidden_activation: 'gelu_pytorch_tanh', ...changes })
  const read = (changes: Record<string, unknown>) =>
    findArchitecture(gemma(changes)).readConfig(gemma(changes)) as Promise<unknown>
  const windows = async (changes: Record<string, unknown>) =>
    ((await read(changes)) as { layers: { window: number }[] }).layers.map(({ window }) => window)

  it('makes every sixth layer a full one where nothing else is said', async () => {
    expect(await windows({ num_hidden_layers: 7, sliding_window: 4 })).toEqual([4, 4, 4, 4, 4, 0, 4])
  })
  it('takes the pattern or the kinds of layers from the config', async () => {
    expect(await windows({ num_hidden_layers: 4, sliding_window: 4, sliding_window_pattern: 2 })).toEqual([4, 0, 4, 0])
    expect(await windows({ sliding_window: 4, layer_types: ['full_attention', 'sliding_attention'] })).toEqual([0, 4])
  })
  it('rejects kinds of layers that it does not know or that do not fit', async () => {
    await expect(read({ layer_types: ['full_attention', 'linear_attention'] })).rejects.toThrow(unsupported('layer_types'))
    await expect(read({ layer_types: ['full_attention'] })).rejects.toThrow(invalid('layer_types'))
  })
  it('reads positions of both kinds of layers in both styles', async () => {
    const older = await read({ rope_theta: 5000, rope_local_base_freq: 500, rope_scaling: { rope_type: 'linear', factor: 2 } })
    const newer = await read({
      rope_theta: undefined,
      rope_parameters: {
        full_attention: { rope_theta: 5000, rope_type: 'linear', factor: 2 },
        sliding_attention: { rope_theta: 500, rope_type: 'default' },
      },
    })
    const ropes = (config: unknown) => (config as { layers: { rope: unknown }[] }).layers.map(({ rope }) => rope)
    expect(ropes(newer)).toEqual(ropes(older))
  })
  it('rejects parameters of one kind only', () =>
    expect(read({ rope_parameters: { full_attention: {} } })).rejects.toThrow(invalid('sliding_attention')))
  it('requires its activation', () =>
    expect(read({ hidden_activation: 'silu' })).rejects.toThrow(unsupported('hidden_activation')))
  it('does not guess at attention in both directions', () => {
    return expect(read({ use_bidirectional_attention: true })).rejects.toThrow(unsupported('use_bidirectional_attention'))
  })
})

describe('show', () => {
  it('keeps values in errors short, whatever they are', () => {
    expect(show('x'.repeat(1000)).length).toBeLessThanOrEqual(60)
    expect([show(12n), show(undefined), show([1n, 2])]).toEqual(['12', 'undefined', '[1,2]'])
  })
})
