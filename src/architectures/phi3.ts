/** Phi 3, 3.5 and 4. */
import type { GraphBuilder, Value } from '../graph/builder.js'
import { architecture, type DecoderConfig, readDecoderConfig } from './architecture.js'
import { configFields } from './config-fields.js'

/**
 * Llama whose q, k and v are one matrix, and gate and up another: rows one after the other, read in place.
 * arXiv:2404.14219 §2.
 */
export const phi3 = architecture({
  modelTypes: ['phi3'],
  async readConfig(checkpoint) {
    const fields = configFields(checkpoint)
    const config = await readDecoderConfig(checkpoint, { window: 'everyLayer', normEps: 1e-5, contextLength: 4096 })
    if (fields.from === 'hf') return config
    // LongRoPE's factor for attention, which converters write without its type.
    if (!config.rope.long) fields.expectNeutral('rope.scaling.attn_factor', 1, [0])
    // The first converter left the window out; both published models with 4096 positions have the same one.
    return fields.raw('window') === undefined && config.contextLength === 4096 ? { ...config, window: 2047 } : config
  },
  build(g, c: DecoderConfig) {
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

function block(g: GraphBuilder, c: DecoderConfig, layer: number, x: Value): Value {
  const [qDim, kvDim] = [c.nHeads * c.headDim, c.nKvHeads * c.headDim]
  const h = g.rmsNorm('input_layernorm', x, c.normEps)
  const qkv = (from: number, n: number) => g.linear('self_attn.qkv_proj', h, n, { rows: { from, of: qDim + 2 * kvDim } })
  const q = g.rope(qkv(0, qDim), c.rope)                                   // [T, H*E]
  const k = g.rope(qkv(qDim, kvDim), c.rope)                               // [T, K*E]
  const v = qkv(qDim + kvDim, kvDim)
  const attended = g.attention({ layer, q, k, v, headDim: c.headDim, window: c.window })
  x = g.add(x, g.linear('self_attn.o_proj', attended, c.dim))
  const f = g.rmsNorm('post_attention_layernorm', x, c.normEps)
  const gateUp = (from: number) => g.linear('mlp.gate_up_proj', f, c.ffnDim, { rows: { from, of: 2 * c.ffnDim } })
  return g.add(x, g.linear('mlp.down_proj', g.swiglu(gateUp(0), gateUp(c.ffnDim)), c.dim))
}
