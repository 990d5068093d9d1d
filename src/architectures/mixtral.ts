/** Mixtral. */
import type { Checkpoint } from '../formats/checkpoint.js'
import type { GraphBuilder, Value } from '../graph/builder.js'
import { architecture, type DecoderConfig, readDecoderConfig } from './architecture.js'
import { configFields } from './config-fields.js'
import { type ExpertConfig, readExperts } from './experts.js'

type MixtralConfig = DecoderConfig & ExpertConfig

/** Mistral whose feed-forward layers are experts: a router chooses two of eight for each token. arXiv:2401.04088 §2.1. */
export const mixtral = architecture({
  modelTypes: ['mixtral'],
  readConfig,
  build(g, c: MixtralConfig) {
    let x = g.embedding('model.embed_tokens', g.tokens, c.dim)                                    // [T, D]
    for (let i = 0; i < c.nLayers; i++) {
      g.capture(`hidden_states.${i}`, x)
      x = block(g.at(`model.layers.${i}`), c, i, x)
    }
    x = g.rmsNorm('model.norm', g.outputRows(x), c.normEps)                                       // [N, D]
    g.capture(`hidden_states.${c.nLayers}`, x)
    return g.linear(c.tiedEmbeddings ? 'model.embed_tokens' : 'lm_head', x, c.vocabSize)          // [N, V]
  },
})

function block(g: GraphBuilder, c: MixtralConfig, layer: number, x: Value): Value {
  const { headDim, nExperts, ffnDim } = c
  const h = g.rmsNorm('input_layernorm', x, c.normEps)
  const heads = (name: string, n: number) => g.linear(`self_attn.${name}_proj`, h, n * headDim)
  const q = g.rope(heads('q', c.nHeads), c.rope)                                                  // [T, H*E]
  const k = g.rope(heads('k', c.nKvHeads), c.rope)                                                // [T, K*E]
  const attended = g.attention({ layer, q, k, v: heads('v', c.nKvHeads), headDim, window: c.window })
  x = g.add(x, g.linear('self_attn.o_proj', attended, c.dim))
  const f = g.rmsNorm('post_attention_layernorm', x, c.normEps)
  const scores = g.linear('block_sparse_moe.gate', f, nExperts)                                   // [T, experts]
  const routing = g.route(scores, c.nActiveExperts, 'softmaxOfChosen')
  const stems = { gate: 'w1', up: 'w3', down: 'w2' }
  return g.add(x, g.experts('block_sparse_moe.experts', f, routing, { nExperts, ffnDim, ...stems }))
}

async function readConfig(checkpoint: Checkpoint): Promise<MixtralConfig> {
  const config = await readDecoderConfig(checkpoint, {
    window: 'everyLayer',
    ropeTheta: 1000000,
    normEps: 1e-5,
    contextLength: 131072,
    experts: true,
  })
  const experts = readExperts(configFields(checkpoint), { nExperts: 8, nActiveExperts: 2 })
  return { ...config, ...experts }
}
