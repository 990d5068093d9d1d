/** SmolLM 3. */
import type { Checkpoint } from '../formats/checkpoint.js'
import type { GraphBuilder, Value } from '../graph/builder.js'
import { architecture, type DecoderConfig, readDecoderConfig } from './architecture.js'
import { type ConfigFields, configFields, show } from './config-fields.js'
import { readLayerKinds } from './layer-windows.js'

interface SmolLm3Config extends DecoderConfig {
  /** Of each layer: does it turn queries and keys, or does it not know positions at all? */
  readonly rotary: readonly boolean[]
}

/** Llama where every fourth layer has no positions. Hugging Face's SmolLM3 post; NoPE: arXiv:2501.18795. */
export const smollm3 = architecture({
  modelTypes: ['smollm3'],
  readConfig,
  build(g, c: SmolLm3Config) {
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

function block(g: GraphBuilder, c: SmolLm3Config, layer: number, x: Value): Value {
  const { headDim, attentionBias: bias } = c
  const h = g.rmsNorm('input_layernorm', x, c.normEps)
  const heads = (name: string, n: number) => g.linear(`self_attn.${name}_proj`, h, n * headDim, { bias })
  const turned = (heads: Value) => (c.rotary[layer] ? g.rope(heads, c.rope) : heads)
  const [q, k, v] = [turned(heads('q', c.nHeads)), turned(heads('k', c.nKvHeads)), heads('v', c.nKvHeads)]
  x = g.add(x, g.linear('self_attn.o_proj', g.attention({ layer, q, k, v, headDim }), c.dim, { bias }))
  const f = g.rmsNorm('post_attention_layernorm', x, c.normEps)
  const ffn = (name: string, from: Value, out: number) => g.linear(`mlp.${name}_proj`, from, out, { bias: c.ffnBias })
  return g.add(x, ffn('down', g.swiglu(ffn('gate', f, c.ffnDim), ffn('up', f, c.ffnDim)), c.dim))
}

async function readConfig(checkpoint: Checkpoint): Promise<SmolLm3Config> {
  const fields = configFields(checkpoint)
  const config = await readDecoderConfig(checkpoint, {
    tiedEmbeddings: true,
    window: 'elsewhere',
    ropeTheta: 2000000,
    contextLength: 32768,
  })
  if (fields.from === 'gguf') {
    fields.expectNeutral('window', 0)
  } else {
    fields.expectNeutral('use_sliding_window', false)
    const sliding = readLayerKinds(fields, 'layer_types', config.nLayers)?.includes(true)
    if (sliding) throw fields.unsupported('layer_types', 'only full_attention is supported')
  }
  return { ...config, rotary: readRotaryLayers(fields, config.nLayers) }
}

/** `no_rope_layers` says 1 where a layer does turn. GGUF has a field of our own, where other layers than every fourth do not. */
function readRotaryLayers(fields: ConfigFields, nLayers: number): boolean[] {
  const hf = fields.from === 'hf'
  if (!hf && fields.raw('rope.layer_pattern') !== undefined) {
    const turns = fields.raw('rope.layer_pattern')
    const valid = Array.isArray(turns) && turns.length === nLayers && turns.every((each) => typeof each === 'boolean')
    fields.expect('rope.layer_pattern', valid, `expected true or false for each of ${nLayers} layers, found ${show(turns)}`)
    return turns as boolean[]
  }
  const given = hf ? fields.raw('no_rope_layers') : undefined
  if (given === undefined) {
    const every = hf ? fields.count('no_rope_layer_interval', { fallback: 4 }) : 4
    return Array.from({ length: nLayers }, (_, i) => (i + 1) % every !== 0)
  }
  const valid = Array.isArray(given) && given.length === nLayers && given.every((one) => one === 0 || one === 1)
  fields.expect('no_rope_layers', valid, `expected 0 or 1 for each of ${nLayers} layers, found ${show(given)}`)
  return (given as number[]).map((one) => one === 1)
}
