/** Qwen 3, the mixtures of experts. */
import type { Checkpoint } from '../formats/checkpoint.js'
import type { GraphBuilder, Value } from '../graph/builder.js'
import { architecture, type DecoderConfig, readDecoderConfig } from './architecture.js'
import { type ConfigFields, configFields, show } from './config-fields.js'
import { type ExpertConfig, readExperts } from './experts.js'
import { readQwenWindows } from './layer-windows.js'

interface Qwen3MoeConfig extends DecoderConfig, ExpertConfig {
  /** Of each layer; 0: all positions. */
  readonly windows: readonly number[]
  /** Of each layer: experts, or one feed-forward layer of `ffnDim`? */
  readonly sparse: readonly boolean[]
  readonly expertFfnDim: number
  readonly gating: 'softmax' | 'softmaxOfChosen'
}

/** Qwen 3 whose feed-forward layers are experts, all of them or some. arXiv:2505.09388 §2. */
export const qwen3Moe = architecture({
  modelTypes: ['qwen3_moe', 'qwen3moe'],
  readConfig,
  build(g, c: Qwen3MoeConfig) {
    let x = g.embedding('model.embed_tokens', g.tokens, c.dim)                                            // [T, D]
    for (let i = 0; i < c.nLayers; i++) {
      g.capture(`hidden_states.${i}`, x)
      x = block(g.at(`model.layers.${i}`), c, i, x)
    }
    x = g.rmsNorm('model.norm', g.outputRows(x), c.normEps)                                               // [N, D]
    g.capture(`hidden_states.${c.nLayers}`, x)
    return g.linear(c.tiedEmbeddings ? 'model.embed_tokens' : 'lm_head', x, c.vocabSize)                  // [N, V]
  },
})

function block(g: GraphBuilder, c: Qwen3MoeConfig, layer: number, x: Value): Value {
  const { headDim, attentionBias: bias } = c
  const h = g.rmsNorm('input_layernorm', x, c.normEps)
  const heads = (name: string, n: number) => g.linear(`self_attn.${name}_proj`, h, n * headDim, { bias })
  const normed = (name: string, n: number) => g.rmsNorm(`self_attn.${name}_norm`, heads(name, n), c.normEps, headDim)
  const q = g.rope(normed('q', c.nHeads), c.rope)                                                         // [T, H*E]
  const k = g.rope(normed('k', c.nKvHeads), c.rope)                                                       // [T, K*E]
  const attended = g.attention({ layer, q, k, v: heads('v', c.nKvHeads), headDim, window: c.windows[layer]! })
  x = g.add(x, g.linear('self_attn.o_proj', attended, c.dim, { bias }))
  const f = g.rmsNorm('post_attention_layernorm', x, c.normEps)
  return g.add(x, c.sparse[layer] ? experts(g, c, f) : feedForward(g, c, f))
}

function experts(g: GraphBuilder, { nExperts, nActiveExperts, gating, expertFfnDim: ffnDim }: Qwen3MoeConfig, f: Value): Value {
  const routing = g.route(g.linear('mlp.gate', f, nExperts), nActiveExperts, gating)
  const stems = { gate: 'gate_proj', up: 'up_proj', down: 'down_proj' }
  return g.experts('mlp.experts', f, routing, { nExperts, ffnDim, ...stems })
}

function feedForward(g: GraphBuilder, { ffnDim, dim }: Qwen3MoeConfig, f: Value): Value {
  return g.linear('mlp.down_proj', g.swiglu(g.linear('mlp.gate_proj', f, ffnDim), g.linear('mlp.up_proj', f, ffnDim)), dim)
}

async function readConfig(checkpoint: Checkpoint): Promise<Qwen3MoeConfig> {
  const config = await readDecoderConfig(checkpoint, { window: 'elsewhere', contextLength: 32768, experts: true })
  const fields = configFields(checkpoint)
  const hf = fields.from === 'hf'
  return {
    ...config,
    ...readExperts(fields, { nExperts: 128, nActiveExperts: 8 }),
    windows: readQwenWindows(fields, config.nLayers),
    sparse: hf ? sparseLayers(fields, config.nLayers) : layersWithRouter(checkpoint, config.nLayers),
    expertFfnDim: fields.count('expertFfnDim', hf ? { fallback: 768 } : {}),
    // GGUF has no field for it: all published models normalize.
    gating: (hf ? fields.flag('norm_topk_prob', false) : true) ? 'softmaxOfChosen' : 'softmax',
  }
}

/** Every `decoder_sparse_step`-th layer, but for those that are listed. */
function sparseLayers(fields: ConfigFields, nLayers: number): boolean[] {
  const every = fields.count('decoder_sparse_step', { fallback: 1 })
  const dense = fields.raw('mlp_only_layers') ?? []
  const valid = Array.isArray(dense) && dense.every((layer) => Number.isInteger(layer) && layer >= 0)
  fields.expect('mlp_only_layers', valid, `expected a list of layers, found ${show(dense)}`)
  const listed = new Set(dense as number[])
  return Array.from({ length: nLayers }, (_, i) => !listed.has(i) && (i + 1) % every === 0)
}

/** GGUF says it by its tensors alone. */
function layersWithRouter({ tensors }: Checkpoint, nLayers: number): boolean[] {
  return Array.from({ length: nLayers }, (_, i) => tensors.has(`model.layers.${i}.mlp.gate.weight`))
}
