/** Gemma 3, the text model. */
import type { Checkpoint } from '../formats/checkpoint.js'
import type { GraphBuilder, Rope, Value } from '../graph/builder.js'
import { architecture, conventionsOf, type DecoderConfig, readDecoderConfig } from './architecture.js'
import { type ConfigFields, configFields } from './config-fields.js'
import { readLayerKinds } from './layer-windows.js'
import { makeRope, readRopeScaling } from './rope.js'

interface Gemma3Config extends DecoderConfig {
  /** Of each layer: its window (0: all positions) and its rotary positions. */
  readonly layers: readonly { readonly window: number; readonly rope: Rope }[]
  readonly attentionScale: number
}

/**
 * Norms around every block, norms of each query and key head, GeGLU, five layers with a sliding window to each full one.
 * arXiv:2503.19786 §2.
 */
export const gemma3 = architecture({
  modelTypes: ['gemma3', 'gemma3_text'],
  readConfig,
  build(g, c: Gemma3Config) {
    let x = g.scale(g.embedding('model.embed_tokens', g.tokens, c.dim), Math.sqrt(c.dim))   // [T, D]
    for (let i = 0; i < c.nLayers; i++) {
      g.capture(`hidden_states.${i}`, x)
      x = block(g.at(`model.layers.${i}`), c, i, x)
    }
    x = g.rmsNorm('model.norm', g.outputRows(x), c.normEps)                                 // [N, D]
    g.capture(`hidden_states.${c.nLayers}`, x)
    return g.linear(c.tiedEmbeddings ? 'model.embed_tokens' : 'lm_head', x, c.vocabSize)    // [N, V]
  },
})

function block(g: GraphBuilder, c: Gemma3Config, layer: number, x: Value): Value {
  const { headDim, attentionScale: scale, attentionBias: bias } = c
  const { window, rope } = c.layers[layer]!
  const h = g.rmsNorm('input_layernorm', x, c.normEps)
  const heads = (name: string, n: number) => g.linear(`self_attn.${name}_proj`, h, n * headDim, { bias })
  const normed = (name: string, n: number) => g.rmsNorm(`self_attn.${name}_norm`, heads(name, n), c.normEps, headDim)
  const q = g.rope(normed('q', c.nHeads), rope)                                             // [T, H*E]
  const k = g.rope(normed('k', c.nKvHeads), rope)                                           // [T, K*E]
  const v = heads('v', c.nKvHeads)
  const attended = g.linear('self_attn.o_proj', g.attention({ layer, q, k, v, headDim, window, scale }), c.dim, { bias })
  x = g.add(x, g.rmsNorm('post_attention_layernorm', attended, c.normEps))
  const f = g.rmsNorm('pre_feedforward_layernorm', x, c.normEps)
  const gated = g.geglu(g.linear('mlp.gate_proj', f, c.ffnDim), g.linear('mlp.up_proj', f, c.ffnDim))
  return g.add(x, g.rmsNorm('post_feedforward_layernorm', g.linear('mlp.down_proj', gated, c.dim), c.normEps))
}

async function readConfig(checkpoint: Checkpoint): Promise<Gemma3Config> {
  const config = await readDecoderConfig(checkpoint, {
    tiedEmbeddings: true,
    activations: ['gelu_pytorch_tanh'],
    headDim: 256,
    ropeTheta: 1000000,
    window: 'elsewhere',
  })
  const fields = configFields(checkpoint)
  const { headDim, nLayers } = config
  fields.expectNeutral('use_bidirectional_attention', false)
  const window = fields.count('window', fields.from === 'hf' ? { fallback: 4096 } : {})
  const { full, local } = fields.from === 'hf' ? huggingFaceRopes(fields, config) : ggufRopes(fields, config)
  const pairing = conventionsOf(checkpoint).ropePairing
  const globalRope = makeRope({ name: 'rope.full', headDim, ropeDim: headDim, pairing, ...full })
  const localRope = makeRope({ name: 'rope.sliding', headDim, ropeDim: headDim, pairing, ...local })
  const layers = slidingLayers(fields, nLayers).map((sliding) => {
    return sliding ? { window, rope: localRope } : { window: 0, rope: globalRope }
  })
  return { ...config, rope: globalRope, layers, attentionScale: attentionScale(fields, config) }
}

/** Which layers have a sliding window. Where the config says nothing: all but every sixth. */
function slidingLayers(fields: ConfigFields, nLayers: number): boolean[] {
  const gguf = 'attention.sliding_window_pattern'
  const renamed = fields.raw('sliding_window_pattern') === undefined ? '_sliding_window_pattern' : 'sliding_window_pattern'
  const [perLayer, pattern] = fields.from === 'hf' ? ['layer_types', renamed] : [gguf, gguf]
  const kinds = readLayerKinds(fields, perLayer, nLayers)
  if (kinds) return kinds
  const every = fields.count(pattern, { fallback: 6 })
  return Array.from({ length: nLayers }, (_, i) => (i + 1) % every !== 0)
}

/**
 * Transformers 5 has parameters per kind of layer; before it, the scaling held for full layers and sliding ones had a base
 * of their own.
 */
function huggingFaceRopes(fields: ConfigFields, { contextLength, ropeTheta, headDim }: DecoderConfig) {
  const perKind = fields.object('rope_parameters')
  const parametersOf = (kind: string): Readonly<Record<string, unknown>> | undefined => {
    const parameters = perKind?.[kind]
    fields.expect(`rope_parameters.${kind}`, !perKind || (typeof parameters === 'object' && parameters !== null), 'is missing')
    return parameters as Record<string, unknown> | undefined
  }
  const read = (kind: string, theta: number, older: Readonly<Record<string, unknown>>) => {
    const parameters = parametersOf(kind) ?? older
    const where = perKind ? `rope_parameters.${kind}` : 'rope_scaling'
    return {
      theta: fields.number(`${where}.rope_theta`, parameters.rope_theta ?? theta),
      scaling: readRopeScaling(fields, { contextLength, ropeDim: headDim }, parameters, where),
    }
  }
  return {
    full: read('full_attention', ropeTheta, fields.object('rope_scaling') ?? {}),
    local: read('sliding_attention', fields.positive('rope_local_base_freq', { fallback: 10000 }), {}),
  }
}

function ggufRopes(fields: ConfigFields, { contextLength, headDim }: DecoderConfig) {
  return {
    full: { theta: fields.positive('ropeTheta'), scaling: readRopeScaling(fields, { contextLength, ropeDim: headDim }) },
    local: { theta: fields.positive('rope.freq_base_swa', { fallback: 10000 }), scaling: { type: 'none' } as const },
  }
}

function attentionScale(fields: ConfigFields, { nLayers, dim, nHeads, headDim }: DecoderConfig): number {
  if (fields.from === 'hf') return 1 / Math.sqrt(fields.positive('query_pre_attn_scalar', { fallback: 256 }))
  // GGUF does not store the scalar. It is the head's size in all published models but 27B, the only one with 62 layers.
  return 1 / Math.sqrt(nLayers === 62 ? dim / nHeads : headDim)
}
