/** Llama and its copies. */
import type { GraphBuilder, Value } from '../graph/builder.js'
import { architecture, type DecoderConfig, readDecoderConfig } from './architecture.js'

/**
 * Llama 2 and 3 and Mistral: pre-norm, rotary attention with shared KV heads, SwiGLU. arXiv:2307.09288 §2.2,
 * arXiv:2310.06825 §2.
 */
export const llama = architecture({
  modelTypes: ['llama', 'mistral'],
  readConfig: (checkpoint) => {
    // Llama's config class has no sliding window; where a converter wrote one for GGUF, it means it.
    const everyLayer = checkpoint.modelType === 'mistral' || checkpoint.format === 'gguf'
    return readDecoderConfig(checkpoint, { window: everyLayer ? 'everyLayer' : 'none' })
  },
  build(g, c: DecoderConfig) {
    let x = g.embedding('model.embed_tokens', g.tokens, c.dim)             // [T, D]
    for (let i = 0; i < c.nLayers; i++) {
      g.capture(`hidden_states.${i}`, x)
      x = block(g.at(`model.layers.${i}`), c, i, x)
    }
    x = g.rmsNorm('model.norm', g.outputRows(x), c.normEps)                // [N, D]: rows that need logits
    g.capture(`hidden_states.${c.nLayers}`, x)
    return g.linear(c.tiedEmbeddings ? 'model.embed_tokens' : 'lm_head', x, c.vocabSize)   // [N, V]
  },
})

function block(g: GraphBuilder, c: DecoderConfig, layer: number, x: Value): Value {
  const bias = c.attentionBias
  const h = g.rmsNorm('input_layernorm', x, c.normEps)
  const q = g.rope(g.linear('self_attn.q_proj', h, c.nHeads * c.headDim, { bias }), c.rope)     // [T, H*E]
  const k = g.rope(g.linear('self_attn.k_proj', h, c.nKvHeads * c.headDim, { bias }), c.rope)   // [T, K*E]
  const v = g.linear('self_attn.v_proj', h, c.nKvHeads * c.headDim, { bias })
  const attended = g.attention({ layer, q, k, v, headDim: c.headDim, window: c.window })        // [T, H*E]
  x = g.add(x, g.linear('self_attn.o_proj', attended, c.dim, { bias }))
  const f = g.rmsNorm('post_attention_layernorm', x, c.normEps)
  const gate = g.linear('mlp.gate_proj', f, c.ffnDim, { bias: c.ffnBias })
  const up = g.linear('mlp.up_proj', f, c.ffnDim, { bias: c.ffnBias })
  return g.add(x, g.linear('mlp.down_proj', g.swiglu(gate, up), c.dim, { bias: c.ffnBias }))
}
