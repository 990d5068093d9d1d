/** GPT-2, and what Megatron and others saved in its form. */
import type { Checkpoint } from '../formats/checkpoint.js'
import type { GraphBuilder, Value } from '../graph/builder.js'
import { architecture, type BaseConfig } from './architecture.js'
import { configFields, show } from './config-fields.js'

interface Gpt2Config extends BaseConfig {
  readonly dim: number
  readonly ffnDim: number
  readonly nLayers: number
  readonly nHeads: number
  readonly normEps: number
  readonly tiedEmbeddings: boolean
  readonly activation: 'gelu' | 'geluTanh'
  /** What scores are multiplied with, of each layer. */
  readonly attentionScales: readonly number[]
}

/** Learned positions, layer norms before both halves of a block, biases everywhere. Radford et al. 2019 §2.3. */
export const gpt2 = architecture({
  modelTypes: ['gpt2'],
  readConfig,
  build(g, c: Gpt2Config) {
    const positions = g.positionEmbedding('transformer.wpe', c.contextLength, c.dim)        // [T, D]
    let x = g.add(g.embedding('transformer.wte', g.tokens, c.dim), positions)               // [T, D]
    for (let i = 0; i < c.nLayers; i++) {
      g.capture(`hidden_states.${i}`, x)
      x = block(g.at(`transformer.h.${i}`), c, i, x)
    }
    x = g.layerNorm('transformer.ln_f', g.outputRows(x), c.normEps)                         // [N, D]
    g.capture(`hidden_states.${c.nLayers}`, x)
    return g.linear(c.tiedEmbeddings ? 'transformer.wte' : 'lm_head', x, c.vocabSize)       // [N, V]
  },
})

function block(g: GraphBuilder, c: Gpt2Config, layer: number, x: Value): Value {
  const { dim, nHeads } = c
  const h = g.layerNorm('ln_1', x, c.normEps)
  const part = (i: number) => g.linear('attn.c_attn', h, dim, { bias: true, rows: { from: i * dim, of: 3 * dim } })
  const [q, k, v] = [part(0), part(1), part(2)]                                             // [T, D] each
  const attended = g.attention({ layer, q, k, v, headDim: dim / nHeads, scale: c.attentionScales[layer]! })
  x = g.add(x, g.linear('attn.c_proj', attended, dim, { bias: true }))
  const f = g.linear('mlp.c_fc', g.layerNorm('ln_2', x, c.normEps), c.ffnDim, { bias: true })
  return g.add(x, g.linear('mlp.c_proj', g[c.activation](f), dim, { bias: true }))
}

/** The names under which configs ask for the tanh form; `gelu` is the exact one. */
const tanhForms = ['gelu_new', 'gelu_pytorch_tanh', 'gelu_fast']

async function readConfig(checkpoint: Checkpoint): Promise<Gpt2Config> {
  const fields = configFields(checkpoint)
  const hf = fields.from === 'hf'
  const dim = fields.count('dim')
  const nHeads = fields.count('nHeads')
  const nLayers = fields.count('nLayers')
  fields.expect('nHeads', dim % nHeads === 0, `${nHeads} heads cannot share ${dim} values`)
  // GGUF has a field for neither, and llama.cpp computes the tanh form.
  const activation = hf ? (fields.raw('activation_function') ?? 'gelu_new') : 'gelu_new'
  if (activation !== 'gelu' && !tanhForms.includes(activation as string)) {
    throw fields.unsupported('activation_function', `only gelu, ${tanhForms.join(', ')} are supported, found ${show(activation)}`)
  }
  fields.expectNeutral('add_cross_attention', false)
  const scaled = hf ? fields.flag('scale_attn_weights', true) : true
  const byLayer = hf ? fields.flag('scale_attn_by_inverse_layer_idx', false) : false
  const scale = scaled ? 1 / Math.sqrt(dim / nHeads) : 1
  return {
    dim,
    nHeads,
    nLayers,
    ffnDim: fields.count('ffnDim', hf ? { fallback: 4 * dim } : {}),
    vocabSize: hf ? fields.count('vocabSize') : (checkpoint.tensors.get('transformer.wte.weight')?.shape[0] ?? 0),
    contextLength: fields.count('contextLength', hf ? { fallback: 1024 } : {}),
    normEps: fields.positive('layerNormEps', hf ? { fallback: 1e-5 } : {}),
    tiedEmbeddings: hf ? fields.flag('tie_word_embeddings', true) : !checkpoint.tensors.has('lm_head.weight'),
    activation: activation === 'gelu' ? 'gelu' : 'geluTanh',
    attentionScales: Array.from({ length: nLayers }, (_, i) => (byLayer ? scale / (i + 1) : scale)),
  }
}
