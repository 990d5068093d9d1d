/** Gemma 2. */
import type { Checkpoint } from '../formats/checkpoint.js'
import type { GraphBuilder, Value } from '../graph/builder.js'
import { architecture, type DecoderConfig, readDecoderConfig } from './architecture.js'
import { type ConfigFields, configFields } from './config-fields.js'
import { readLayerKinds } from './layer-windows.js'

interface Gemma2Config extends DecoderConfig {
  /** Of each layer; 0: all positions. */
  readonly windows: readonly number[]
  readonly attentionScale: number
  /** Of scores and of logits; 0: none. */
  readonly attentionSoftcap: number
  readonly logitSoftcap: number
}

/** Gemma with norms around both halves of a block, soft caps, and a sliding window in every other layer. arXiv:2408.00118 §2. */
export const gemma2 = architecture({
  modelTypes: ['gemma2'],
  readConfig,
  build(g, c: Gemma2Config) {
    let x = g.scale(g.embedding('model.embed_tokens', g.tokens, c.dim), Math.sqrt(c.dim))                // [T, D]
    for (let i = 0; i < c.nLayers; i++) {
      g.capture(`hidden_states.${i}`, x)
      x = block(g.at(`model.layers.${i}`), c, i, x)
    }
    x = g.rmsNorm('model.norm', g.outputRows(x), c.normEps)                                              // [N, D]
    g.capture(`hidden_states.${c.nLayers}`, x)
    const logits = g.linear(c.tiedEmbeddings ? 'model.embed_tokens' : 'lm_head', x, c.vocabSize)         // [N, V]
    return c.logitSoftcap > 0 ? g.softcap(logits, c.logitSoftcap) : logits
  },
})

function block(g: GraphBuilder, c: Gemma2Config, layer: number, x: Value): Value {
  const { headDim, attentionBias: bias, attentionScale: scale, attentionSoftcap: softcap } = c
  const h = g.rmsNorm('input_layernorm', x, c.normEps)
  const heads = (name: string, n: number) => g.linear(`self_attn.${name}_proj`, h, n * headDim, { bias })
  const q = g.rope(heads('q', c.nHeads), c.rope)                                                         // [T, H*E]
  const k = g.rope(heads('k', c.nKvHeads), c.rope)                                                       // [T, K*E]
  const v = heads('v', c.nKvHeads)
  const attended = g.attention({ layer, q, k, v, headDim, window: c.windows[layer]!, scale, softcap })   // [T, H*E]
  x = g.add(x, g.rmsNorm('post_attention_layernorm', g.linear('self_attn.o_proj', attended, c.dim, { bias }), c.normEps))
  const f = g.rmsNorm('pre_feedforward_layernorm', x, c.normEps)
  const gated = g.geglu(g.linear('mlp.gate_proj', f, c.ffnDim), g.linear('mlp.up_proj', f, c.ffnDim))
  return g.add(x, g.rmsNorm('post_feedforward_layernorm', g.linear('mlp.down_proj', gated, c.dim), c.normEps))
}

async function readConfig(checkpoint: Checkpoint): Promise<Gemma2Config> {
  const config = await readDecoderConfig(checkpoint, {
    tiedEmbeddings: true,
    activations: ['gelu_pytorch_tanh'],
    headDim: 256,
    contextLength: 8192,
    window: 'elsewhere',
    softcaps: true,
  })
  const fields = configFields(checkpoint)
  fields.expectNeutral('use_bidirectional_attention', false)
  const window = fields.isNull('window') ? 0 : fields.count('window', { fallback: 4096, zero: true })
  const kinds = fields.from === 'hf' ? readLayerKinds(fields, 'layer_types', config.nLayers) : null
  return {
    ...config,
    windows: Array.from({ length: config.nLayers }, (_, i) => ((kinds ? kinds[i] : i % 2 === 0) ? window : 0)),
    attentionScale: attentionScale(fields, config),
    attentionSoftcap: softcap(fields, 'attn_logit_softcapping', 50),
    logitSoftcap: softcap(fields, 'final_logit_softcapping', 30),
  }
}

/** Null, and 0 in GGUF, say that there is none; a config without the field means the published models'. */
function softcap(fields: ConfigFields, name: string, fallback: number): number {
  return fields.isNull(name) || fields.raw(name) === 0 ? 0 : fields.positive(name, { fallback })
}

function attentionScale(fields: ConfigFields, { nLayers, dim, nHeads, headDim }: DecoderConfig): number {
  if (fields.from === 'hf') return 1 / Math.sqrt(fields.positive('query_pre_attn_scalar', { fallback: 256 }))
  // GGUF does not store the scalar. It is the head's size in all published models but 27B, the only one with 46 layers.
  return 1 / Math.sqrt(nLayers === 46 ? dim / nHeads : headDim)
}
