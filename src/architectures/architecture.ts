/** The contract of an architecture, and the reader of what decoder families have in common, from Hugging Face and GGUF keys. */
import { InfernodeError } from '../errors.js'
import type { Checkpoint, Conventions } from '../formats/checkpoint.js'
import type { GraphBuilder, HasBias, Rope, Value } from '../graph/builder.js'
import { type ConfigFields, configFields } from './config-fields.js'
import { makeRope, readGgufLongRope, readRopeFactors, readRopeScaling } from './rope.js'

/** What the plan itself needs to know of every model. */
export interface BaseConfig {
  readonly vocabSize: number
  readonly contextLength: number
}

export interface Architecture<Config extends BaseConfig = BaseConfig> {
  /** Hugging Face's `model_type` and GGUF's `general.architecture`; the first one names the family. */
  readonly modelTypes: readonly string[]
  /** Reads and checks the config. Throws CONFIG_INVALID or FORMAT_UNSUPPORTED with the field, never guesses. */
  readConfig(checkpoint: Checkpoint): Promise<Config>
  /** Writes the graph and gives the logits [N, V]. */
  build(g: GraphBuilder, config: Config): Value
}

/** Checks a declaration's types where it is written, and forgets its config's type for the table of architectures. */
export function architecture<Config extends BaseConfig>(declaration: Architecture<Config>): Architecture {
  return declaration as unknown as Architecture
}

/**
 * What pre-norm decoders with rotary positions have in common. Names are the house's (STYLE §4); outside names stay in this
 * file.
 */
export interface DecoderConfig extends BaseConfig {
  readonly dim: number
  readonly ffnDim: number
  readonly nLayers: number
  readonly nHeads: number
  readonly nKvHeads: number
  readonly headDim: number
  readonly normEps: number
  readonly ropeTheta: number
  readonly rope: Rope
  /** Positions that a query sees in every layer; 0: all. */
  readonly window: number
  readonly attentionBias: HasBias
  readonly ffnBias: HasBias
  readonly tiedEmbeddings: boolean
}

/** What differs between families where a config is silent. */
export interface DecoderDefaults {
  readonly tiedEmbeddings?: boolean
  readonly activations?: readonly string[]
  /** Undefined: dim / nHeads. */
  readonly headDim?: number
  readonly ropeTheta?: number
  readonly normEps?: number
  readonly contextLength?: number
  /**
   * Does the config's `sliding_window` hold for every layer (mistral), is it for some layers and read elsewhere, or has the
   * family none?
   */
  readonly window?: 'everyLayer' | 'elsewhere' | 'none'
  /** Does the family read soft caps of scores and logits (Gemma 2)? Others refuse them. */
  readonly softcaps?: boolean
  /** Does the family read how many experts there are (Mixtral)? Others refuse them. */
  readonly experts?: boolean
}

const silu = ['silu', 'swish']
const softcapFields = ['attn_logit_softcapping', 'final_logit_softcapping']

export async function readDecoderConfig(checkpoint: Checkpoint, defaults: DecoderDefaults = {}): Promise<DecoderConfig> {
  const fields = configFields(checkpoint)
  const config = fields.from === 'hf' ? fromHuggingFace(fields, defaults) : fromGguf(fields, checkpoint, defaults)
  const { nHeads, nKvHeads, headDim } = config
  fields.expect('nKvHeads', nHeads % nKvHeads === 0, `${nKvHeads} KV heads cannot be shared by ${nHeads} heads`)
  fields.expect('headDim', headDim % 2 === 0, `is odd: ${headDim}; rotary positions turn pairs`)
  const ropeDim = fields.from === 'gguf' ? fields.count('ropeDim', { fallback: headDim }) : headDim
  fields.expect(
    'ropeDim',
    ropeDim % 2 === 0 && ropeDim <= headDim,
    `is not an even number up to the head's ${headDim}: ${ropeDim}`,
  )
  const rope = makeRope({
    name: 'rope.frequencies',
    headDim,
    ropeDim,
    theta: config.ropeTheta,
    scaling: (await readGgufLongRope(checkpoint, fields, ropeDim)) ?? readRopeScaling(fields, { ...config, ropeDim }),
    factors: await readRopeFactors(checkpoint, ropeDim),
    pairing: conventionsOf(checkpoint).ropePairing,
  })
  return { ...config, rope }
}

/**
 * How the format stores this family's values. Reading weights under the wrong convention gives wrong text, so unknown is an
 * error.
 */
export function conventionsOf({ conventions, path, modelType }: Checkpoint): Conventions {
  if (conventions) return conventions
  const reason = `how this format stores the values of "${modelType}" is not known`
  throw new InfernodeError('FORMAT_UNSUPPORTED', path, 'model type', reason)
}

function fromHuggingFace(fields: ConfigFields, defaults: DecoderDefaults): Omit<DecoderConfig, 'rope'> {
  fields.expectAbsent('text_config', 'the text model is part of a larger one, which infernode cannot read yet')
  fields.expectNeutral('partial_rotary_factor', 1)
  if (!defaults.softcaps) for (const name of softcapFields) fields.expectNeutral(name, 0)
  const allowed = defaults.activations ?? silu
  for (const name of ['hidden_act', 'hidden_activation']) fields.expectOneOf(name, allowed)
  const window = defaults.window === 'everyLayer' ? fields.count('window', { fallback: 0, zero: true }) : 0
  const { dim, nHeads, headDim } = readHeads(fields, defaults)
  return {
    dim,
    nHeads,
    headDim,
    window,
    ffnDim: fields.count('ffnDim'),
    nLayers: fields.count('nLayers'),
    nKvHeads: fields.count('nKvHeads', { fallback: nHeads }),
    vocabSize: fields.count('vocabSize'),
    contextLength: fields.count('contextLength', { fallback: defaults.contextLength ?? 2048 }),
    normEps: fields.positive('normEps', { fallback: defaults.normEps ?? 1e-6 }),
    ropeTheta: fields.positive('ropeTheta', { fallback: defaults.ropeTheta ?? 10000 }),
    attentionBias: fields.flag('attention_bias', false),
    ffnBias: fields.flag('mlp_bias', false),
    tiedEmbeddings: fields.flag('tie_word_embeddings', defaults.tiedEmbeddings ?? false),
  }
}

function fromGguf(fields: ConfigFields, checkpoint: Checkpoint, defaults: DecoderDefaults): Omit<DecoderConfig, 'rope'> {
  if (!defaults.experts) fields.expectNeutral('expert_count', 0)
  fields.expectNeutral('attention.causal', true)
  fields.expectNeutral('use_parallel_residual', false)
  if (!defaults.softcaps) for (const name of softcapFields) fields.expectNeutral(name, 0)
  for (const name of ['attention.max_alibi_bias', 'attention.clamp_kqv']) fields.expectNeutral(name, 0)
  for (const name of ['logit_scale', 'residual_scale', 'embedding_scale', 'attention.scale']) fields.expectNeutral(name, 0, [1])
  const window = defaults.window === 'elsewhere' ? 0 : fields.count('window', { fallback: 0, zero: true })
  const { dim, nHeads, headDim } = readHeads(fields, defaults)
  const valueDim = fields.count('valueDim', { fallback: headDim })
  fields.expect('valueDim', valueDim === headDim, `${valueDim} differs from the key length ${headDim}`)
  return {
    dim,
    nHeads,
    headDim,
    window,
    ffnDim: fields.count('ffnDim'),
    nLayers: fields.count('nLayers'),
    nKvHeads: fields.count('nKvHeads', { fallback: nHeads }),
    // Old files have no such field, but the table has a row for every token.
    vocabSize: checkpoint.tensors.get('model.embed_tokens.weight')?.shape[0] ?? fields.count('vocabSize'),
    contextLength: fields.count('contextLength'),
    normEps: fields.positive('normEps'),
    ropeTheta: fields.positive('ropeTheta', { fallback: 10000 }),
    // GGUF says neither; the tensors do.
    attentionBias: 'optional',
    ffnBias: 'optional',
    tiedEmbeddings: !checkpoint.tensors.has('lm_head.weight'),
  }
}

function readHeads(fields: ConfigFields, defaults: DecoderDefaults) {
  const dim = fields.count('dim')
  const nHeads = fields.count('nHeads')
  const perHead = fields.from === 'hf' ? defaults.headDim : undefined
  const headDim = fields.count('headDim', { fallback: perHead ?? (dim % nHeads === 0 ? dim / nHeads : undefined) })
  return { dim, nHeads, headDim }
}
