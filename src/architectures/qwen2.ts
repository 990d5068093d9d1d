/** Qwen 2 and 2.5. */
import type { GraphBuilder, Value } from '../graph/builder.js'
import { architecture, type DecoderConfig, readDecoderConfig } from './architecture.js'
import { configFields } from './config-fields.js'
import { readQwenWindows } from './layer-windows.js'

interface Qwen2Config extends DecoderConfig {
  /** Of each layer; 0: all positions. */
  readonly windows: readonly number[]
}

/** Llama with biases of q, k and v, and of nothing else. arXiv:2407.10671 §2.2.1. */
export const qwen2 = architecture({
  modelTypes: ['qwen2'],
  async readConfig(checkpoint): Promise<Qwen2Config> {
    const config = await readDecoderConfig(checkpoint, { window: 'elsewhere', contextLength: 32768 })
    return { ...config, windows: readQwenWindows(configFields(checkpoint), config.nLayers) }
  },
  build(g, c: Qwen2Config) {
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

function block(g: GraphBuilder, c: Qwen2Config, layer: number, x: Value): Value {
  const h = g.rmsNorm('input_layernorm', x, c.normEps)
  const heads = (name: string, n: number) => g.linear(`self_attn.${name}_proj`, h, n * c.headDim, { bias: true })
  const q = g.rope(heads('q', c.nHeads), c.rope)                           // [T, H*E]
  const k = g.rope(heads('k', c.nKvHeads), c.rope)                         // [T, K*E]
  const v = heads('v', c.nKvHeads)
  const attended = g.attention({ layer, q, k, v, headDim: c.headDim, window: c.windows[layer]! })
  x = g.add(x, g.linear('self_attn.o_proj', attended, c.dim))
  const f = g.rmsNorm('post_attention_layernorm', x, c.normEps)
  const gated = g.swiglu(g.linear('mlp.gate_proj', f, c.ffnDim), g.linear('mlp.up_proj', f, c.ffnDim))
  return g.add(x, g.linear('mlp.down_proj', gated, c.dim))
}
