/** Rotary frequencies: how fast each pair of dimensions turns, and how checkpoints stretch that to longer contexts. */
import { open } from 'node:fs/promises'
import { InfernodeError } from '../errors.js'
import type { Checkpoint } from '../formats/checkpoint.js'
import type { Rope } from '../graph/builder.js'
import { type ConfigFields, show } from './config-fields.js'

export type RopeScaling =
  | { readonly type: 'none' }
  /** Positions divided by the factor. arXiv:2306.15595 §2.3. */
  | { readonly type: 'linear'; readonly factor: number }
  /**
   * Long wavelengths divided by the factor, short ones kept, a smooth step between. Llama 3.1's model card and reference
   * code.
   */
  | {
      readonly type: 'llama3'
      readonly factor: number
      readonly lowFrequencyFactor: number
      readonly highFrequencyFactor: number
      readonly originalContextLength: number
    }
  /** The same idea with a linear ramp over dimensions, and sharper attention. arXiv:2309.00071 §3.2 and §3.4. */
  | {
      readonly type: 'yarn'
      readonly factor: number
      readonly betaFast: number
      readonly betaSlow: number
      readonly originalContextLength: number
      readonly attentionFactor: number
    }
  /**
   * Each frequency divided by a factor of its own: one list of factors for texts within the original context, one for longer
   * ones. arXiv:2402.13753 §3.
   */
  | {
      readonly type: 'longrope'
      readonly short: readonly number[]
      readonly long: readonly number[]
      readonly originalContextLength: number
      readonly attentionFactor: number
    }

export interface RopeOptions {
  readonly name: string
  readonly headDim: number
  /** Dimensions of a head that turn, from the first one. */
  readonly ropeDim: number
  readonly theta: number
  readonly scaling: RopeScaling
  /** What each frequency is divided by; GGUF stores Llama 3's scaling this way. */
  readonly factors?: readonly number[] | null
  readonly pairing: Rope['pairing']
}

/** Computed in double and rounded to f32 once. */
export function makeRope({ name, headDim, ropeDim, theta, scaling, factors, pairing }: RopeOptions): Rope {
  const frequencies = (divisors: readonly number[] | null | undefined) =>
    Array.from({ length: ropeDim / 2 }, (_, i) => {
      const scaled = scaleFrequency(theta ** ((-2 * i) / ropeDim), i, ropeDim, theta, scaling)
      return Math.fround(scaled / (divisors?.[i] ?? 1))
    })
  const shared = { name, headDim, pairing, scale: 'attentionFactor' in scaling ? Math.fround(scaling.attentionFactor) : 1 }
  if (scaling.type !== 'longrope') return { ...shared, frequencies: frequencies(factors) }
  const long = { frequencies: frequencies(scaling.long), shortLength: scaling.originalContextLength }
  return { ...shared, frequencies: frequencies(scaling.short), long }
}

function scaleFrequency(frequency: number, i: number, ropeDim: number, theta: number, scaling: RopeScaling): number {
  switch (scaling.type) {
    case 'none':
    case 'longrope': // its factors are divisors of single frequencies
      return frequency
    case 'linear':
      return frequency / scaling.factor
    case 'llama3': {
      const { factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalContextLength } = scaling
      const turns = (originalContextLength * frequency) / (2 * Math.PI) // full turns within the original context
      const kept = Math.min(1, Math.max(0, (turns - low) / (high - low)))
      return kept * frequency + ((1 - kept) * frequency) / factor
    }
    case 'yarn': {
      const { factor, betaFast, betaSlow, originalContextLength } = scaling
      // The dimension that makes `turns` full turns within the original context.
      const dimension = (turns: number) => {
        return (ropeDim * Math.log(originalContextLength / (turns * 2 * Math.PI))) / (2 * Math.log(theta))
      }
      const first = Math.max(0, Math.floor(dimension(betaFast)))
      const last = Math.min(ropeDim - 1, Math.ceil(dimension(betaSlow)))
      const divided = Math.min(1, Math.max(0, (i - first) / (last === first ? 0.001 : last - first)))
      return (1 - divided) * frequency + (divided * frequency) / factor
    }
  }
}

/** What the meaning of a scaling depends on. */
interface RopeSizes {
  readonly contextLength: number
  /** Dimensions of a head that turn. */
  readonly ropeDim: number
}

/**
 * The scaling that a config asks for. `parameters`: the object to read instead of the config's own (Gemma 3 has one per
 * kind of layer).
 */
export function readRopeScaling(
  fields: ConfigFields,
  sizes: RopeSizes,
  parameters = fields.from === 'hf' ? (fields.object('rope_parameters') ?? fields.object('rope_scaling') ?? {}) : undefined,
  where = 'rope_scaling',
): RopeScaling {
  return parameters ? fromHuggingFace(fields, sizes, parameters, where) : fromGguf(fields, sizes.contextLength)
}

function fromHuggingFace(
  fields: ConfigFields,
  sizes: RopeSizes,
  parameters: Readonly<Record<string, unknown>>,
  where: string,
): RopeScaling {
  const number = (key: string, fallback?: number) => fields.number(`${where}.${key}`, parameters[key] ?? fallback)
  const unsupported = (key: string) => {
    return fields.unsupported(`${where}.${key}`, `${show(parameters[key])} is not supported`)
  }
  if ((parameters.partial_rotary_factor ?? 1) !== 1) throw unsupported('partial_rotary_factor')
  const typeKey = 'rope_type' in parameters ? 'rope_type' : 'type' // transformers before 4.43 called it `type`
  switch (parameters[typeKey] ?? 'default') {
    case 'default':
      return { type: 'none' }
    case 'linear':
      return { type: 'linear', factor: number('factor') }
    case 'llama3': {
      const low = number('low_freq_factor')
      const high = number('high_freq_factor')
      fields.expect(`${where}.high_freq_factor`, high > low, `${high} is not above low_freq_factor ${low}`)
      return {
        type: 'llama3',
        factor: number('factor'),
        lowFrequencyFactor: low,
        highFrequencyFactor: high,
        originalContextLength: number('original_max_position_embeddings'),
      }
    }
    case 'yarn': {
      for (const key of ['mscale', 'mscale_all_dim']) if (parameters[key] != null) throw unsupported(key)
      if ((parameters.truncate ?? true) !== true) throw unsupported('truncate')
      const factor = number('factor')
      return {
        type: 'yarn',
        factor,
        betaFast: number('beta_fast', 32),
        betaSlow: number('beta_slow', 1),
        originalContextLength: number('original_max_position_embeddings', sizes.contextLength),
        attentionFactor: number('attention_factor', sharpness(factor)),
      }
    }
    case 'longrope':
    case 'su': // what Phi 3 called it first
      return longRope(fields, sizes, parameters, where)
    default:
      throw unsupported(typeKey)
  }
}

function longRope(
  fields: ConfigFields,
  { contextLength, ropeDim }: RopeSizes,
  parameters: Readonly<Record<string, unknown>>,
  where: string,
): RopeScaling {
  const factorsOf = (key: string): number[] => {
    const list = parameters[key]
    const valid = Array.isArray(list) && list.length === ropeDim / 2
    fields.expect(`${where}.${key}`, valid, `expected a list of ${ropeDim / 2} factors, found ${show(list)}`)
    return (list as unknown[]).map((factor) => fields.number(`${where}.${key}`, factor))
  }
  // Where the original length is given beside the scaling, the factor of the context is the two lengths' quotient.
  const beside = fields.raw('original_max_position_embeddings') ?? parameters.original_max_position_embeddings
  const original = beside === undefined ? contextLength : fields.number('original_max_position_embeddings', beside)
  fields.expect('original_max_position_embeddings', Number.isInteger(original) && original > 1, `is no length: ${original}`)
  const factor = beside === undefined ? fields.number(`${where}.factor`, parameters.factor ?? 1) : contextLength / original
  const computed = longAttentionFactor(factor, original)
  return {
    type: 'longrope',
    short: factorsOf('short_factor'),
    long: factorsOf('long_factor'),
    originalContextLength: original,
    attentionFactor: fields.number(`${where}.attention_factor`, parameters.attention_factor ?? computed),
  }
}

/** arXiv:2402.13753, appendix A, as Phi 3's code has it. */
const longAttentionFactor = (factor: number, original: number) =>
  factor > 1 ? Math.sqrt(1 + Math.log(factor) / Math.log(original)) : 1

function fromGguf(fields: ConfigFields, contextLength: number): RopeScaling {
  const type = fields.raw('rope.scaling.type') ?? (fields.raw('rope.scale_linear') === undefined ? 'none' : 'linear')
  switch (type) {
    case 'none':
      return { type: 'none' }
    case 'linear': {
      // Files of 2023 have scale_linear instead of type and factor.
      const name = fields.raw('rope.scaling.factor') === undefined ? 'rope.scale_linear' : 'rope.scaling.factor'
      return { type: 'linear', factor: fields.positive(name) }
    }
    case 'yarn': {
      fields.expectNeutral('rope.scaling.yarn_attn_factor', 1)
      fields.expectNeutral('rope.scaling.yarn_ext_factor', 1, [-1])
      fields.expectNeutral('rope.scaling.yarn_log_multiplier', 0)
      const factor = fields.positive('rope.scaling.factor')
      return {
        type: 'yarn',
        factor,
        betaFast: fields.positive('rope.scaling.yarn_beta_fast', { fallback: 32 }),
        betaSlow: fields.positive('rope.scaling.yarn_beta_slow', { fallback: 1 }),
        originalContextLength: fields.count('rope.scaling.original_context_length', { fallback: contextLength }),
        // Some converters write 0 where they mean nothing by it.
        attentionFactor: sharpness(factor) * (fields.raw('rope.scaling.attn_factor') ? fields.positive('rope.scaling.attn_factor') : 1),
      }
    }
    default:
      throw fields.unsupported('rope.scaling.type', `only none, linear and yarn are supported, found ${show(type)}`)
  }
}

/** YaRN's attention factor, arXiv:2309.00071 eq. 22. */
export const sharpness = (factor: number) => (factor > 1 ? 0.1 * Math.log(factor) + 1 : 1)

const longFactors = 'rope_factors_long.weight'
const shortFactors = 'rope_factors_short.weight'

/** LongRoPE as GGUF has it: factors in tensors beside the weights. Null where there are none. */
export async function readGgufLongRope(
  checkpoint: Checkpoint,
  fields: ConfigFields,
  ropeDim: number,
): Promise<RopeScaling | null> {
  const { tensors, path } = checkpoint
  if (fields.from !== 'gguf' || !(tensors.has(longFactors) || tensors.has(shortFactors))) return null
  for (const name of [longFactors, shortFactors]) {
    if (!tensors.has(name)) throw new InfernodeError('TENSOR_MISSING', name, path, name === longFactors ? shortFactors : longFactors)
  }
  fields.expectOneOf('rope.scaling.type', ['none', 'longrope'])
  const [short, long] = [await readFactors(checkpoint, shortFactors, ropeDim), await readFactors(checkpoint, longFactors, ropeDim)]
  return {
    type: 'longrope',
    short,
    long,
    originalContextLength: fields.count('rope.scaling.original_context_length'),
    attentionFactor: fields.positive('rope.scaling.attn_factor'),
  }
}

/** What GGUF divides frequencies by, Llama 3's scaling for one: [ropeDim / 2], or null where there is no such tensor. */
export async function readRopeFactors(checkpoint: Checkpoint, ropeDim: number): Promise<readonly number[] | null> {
  const name = 'rope_freqs.weight'
  return checkpoint.format === 'gguf' && checkpoint.tensors.has(name) ? readFactors(checkpoint, name, ropeDim) : null
}

async function readFactors(checkpoint: Checkpoint, name: string, ropeDim: number): Promise<readonly number[]> {
  const tensor = checkpoint.tensors.get(name)!
  const { path } = checkpoint.files[tensor.file]!
  if (tensor.type !== 'f32') throw new InfernodeError('TENSOR_TYPE_UNSUPPORTED', tensor.sourceName, path, tensor.type)
  if (tensor.shape.length !== 1 || tensor.shape[0] !== ropeDim / 2) {
    throw new InfernodeError('TENSOR_SHAPE', tensor.sourceName, path, String(ropeDim / 2), tensor.shape.join(', '))
  }
  const bytes = Buffer.alloc(2 * ropeDim)
  const file = await open(path).catch((cause: Error) => {
    throw new InfernodeError('FILE_UNREADABLE', path, cause.message)
  })
  try {
    const { bytesRead } = await file.read(bytes, 0, bytes.length, tensor.offset)
    if (bytesRead !== bytes.length) throw new InfernodeError('FILE_CHANGED', path)
  } finally {
    await file.close()
  }
  const factors = Array.from({ length: ropeDim / 2 }, (_, i) => bytes.readFloatLE(4 * i))
  const bad = factors.find((factor) => !(Number.isFinite(factor) && factor > 0))
  if (bad !== undefined) throw new InfernodeError('FILE_CORRUPT', path, tensor.sourceName, `${bad} is not a positive number`)
  return factors
}
