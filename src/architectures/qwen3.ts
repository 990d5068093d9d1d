/** Qwen 3, the dense models. */
import type { GraphBuilder, Value } from '../graph/builder.js'
import { architecture, type DecoderConfig, readDecoderConfig } from './architecture.js'
import { configFields } from './config-fields.js'
import { readQwenWindows } from './layer-windows.js'

interface Qwen3Config extends DecoderConfig {
  /** Of each layer; 0: all positions. */
  readonly windows: readonly number[]
}

/** Qwen 2 without its biases, and with norms of each query and key head before they turn. arXiv:2505.09388 §2. */
export const qwen3 = architecture({
  modelTypes: ['qwen3'],
  async readConfig(checkpoint): Promise<Qwen3Config> {
    const config = await readDecoderConfig(checkpoint, { window: 'elsewhere', headDim: 128, contextLength: 32768 })
    return { ...config, windows: readQwenWindows(configFields(checkpoint), config.nLayers) }
  },
  build(g, c: Qwen3Config) {
    let x = g.embedding('model.embed_tokens', g.tokens, c.dim)             // [T, D]
    for (let i = 0; i < c.nLayers; i++) {
      g.capture(`hidden_states.${i}`, x)
      x = block(g.at(`model.layers.${i}`), c, i, x)
    }
    x = g.rmsNorm('model.norm', g.outputRows(x), c.normEps)                // [N, D]
    g.capture(`hidden_states.${c.nLayers}`, x)
    return g.linear(c.tiedEmbeddings ? 'model.embed_tokens' : 'lm_head', x, c.vocabSize)   // [N, V]
  },
})

function block(g: GraphBuilder, c: Qwen3Config, layer: number, x: Value): Value {
  const { headDim, attentionBias: bias } = c
  const h = g.rmsNorm('input_layernorm', x, c.normEps)
  const heads = (name: string, n: number) => g.linear(`self_attn.${name}_proj`, h, n * headDim, { bias })
  const normed = (name: string, n: number) => g.rmsNorm(`self_attn.${name}_norm`, heads(name, n), c.normEps, headDim)
  const q = g.rope(normed('q', c.nHeads), c.rope)                          // [T, H*E]
  const k = g.rope(normed('k', c.nKvHeads), c.rope)                        // [T, K*E]
  const v = heads('v', c.nKvHeads)
  const attended = g.attention({ layer, q, k, v, headDim, window: c.windows[layer]! })
  x = g.add(x, g.linear('self_attn.o_proj', attended, c.dim, { bias }))
  const f = g.rmsNorm('post_attention_layernorm', x, c.normEps)
  const gated = g.swiglu(g.linear('mlp.gate_proj', f, c.ffnDim), g.linear('mlp.up_proj', f, c.ffnDim))
  return g.add(x, g.linear('mlp.down_proj', gated, c.dim))
}
