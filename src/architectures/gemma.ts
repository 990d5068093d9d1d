/** Gemma, the first one. */
import type { GraphBuilder, Value } from '../graph/builder.js'
import { architecture, type DecoderConfig, readDecoderConfig } from './architecture.js'
import { configFields } from './config-fields.js'

/** Llama with scaled embeddings and GeGLU. arXiv:2403.08295 §2. */
export const gemma = architecture({
  modelTypes: ['gemma'],
  readConfig: (checkpoint) => {
    const fields = configFields(checkpoint)
    // `hidden_act: gelu` of old configs means the tanh form too; in `hidden_activation`, which wins, it would not.
    fields.expectOneOf('hidden_activation', ['gelu_pytorch_tanh'])
    fields.expectNeutral('use_bidirectional_attention', false)
    return readDecoderConfig(checkpoint, {
      tiedEmbeddings: true,
      activations: ['gelu_pytorch_tanh', 'gelu'],
      headDim: 256,
      contextLength: 8192,
      window: checkpoint.format === 'gguf' ? 'everyLayer' : 'none',
    })
  },
  build(g, c: DecoderConfig) {
    let x = g.scale(g.embedding('model.embed_tokens', g.tokens, c.dim), Math.sqrt(c.dim))  // [T, D]
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
  const { headDim, attentionBias: bias } = c
  const h = g.rmsNorm('input_layernorm', x, c.normEps)
  const heads = (name: string, n: number) => g.linear(`self_attn.${name}_proj`, h, n * headDim, { bias })
  const q = g.rope(heads('q', c.nHeads), c.rope)                           // [T, H*E]
  const k = g.rope(heads('k', c.nKvHeads), c.rope)                         // [T, K*E]
  const v = heads('v', c.nKvHeads)
  x = g.add(x, g.linear('self_attn.o_proj', g.attention({ layer, q, k, v, headDim, window: c.window }), c.dim, { bias }))
  const f = g.rmsNorm('post_attention_layernorm', x, c.normEps)
  const gated = g.geglu(g.linear('mlp.gate_proj', f, c.ffnDim), g.linear('mlp.up_proj', f, c.ffnDim))
  return g.add(x, g.linear('mlp.down_proj', gated, c.dim))
}
