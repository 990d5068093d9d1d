/** Which type each tensor of a GGUF file gets: the mixture, what must stay as it is, and what callers keep by pattern. */
import { InfernodeError } from '../errors.js'
import { tensorTypes, type TensorTypeName } from '../tensor-types.js'

/** What weights can be stored as; `encodableTypes()` says which of these can be written. */
export type TargetType = Exclude<TensorTypeName, 'i32' | 'i8' | 'u8' | 'bool' | 'a8_32' | 'a8_256'>

/** The number that GGUF's general.file_type has for a file mostly of this type. */
export const fileTypes: Readonly<Record<TargetType, number>> = {
  f32: 0,
  f16: 1,
  q4_0: 2,
  q4_1: 3,
  q8_0: 7,
  q5_0: 8,
  q5_1: 9,
  q2_k: 10,
  q3_k: 12,
  q4_k: 15,
  q5_k: 17,
  q6_k: 18,
  iq4_nl: 25,
  iq4_xs: 30,
  bf16: 32,
  mxfp4: 38,
  nvfp4: 39,
  iq1_s: 24,
  iq1_m: 31,
  iq2_xxs: 19,
  iq2_xs: 20,
  iq2_s: 28,
  iq3_xxs: 23,
  iq3_s: 26,
  tq1_0: 36,
  tq2_0: 37,
}

/** For matrices whose rows are no whole number of blocks; the first of the chain whose blocks fit. f16 fits always. */
const fallbacks: Partial<Readonly<Record<TargetType, TargetType>>> = {
  q2_k: 'q4_0',
  q3_k: 'q4_0',
  q4_k: 'q5_0',
  q5_k: 'q5_1',
  q6_k: 'q8_0',
  iq4_xs: 'iq4_nl',
}

/** K-quants: the type of the matrices that suffer most from few bits, those that make values and lead out of a block. */
const stepUp: Partial<Readonly<Record<TargetType, TargetType>>> = { q2_k: 'q3_k', q3_k: 'q4_k', q4_k: 'q5_k', q5_k: 'q6_k' }

/** Matrices that are read by other ops than matmuls, or are so small and sensitive that nothing is won. */
const leftAlone = /(^|\.)(position_embd|token_types|ffn_gate_inp|ssm_.*|rope_.*|.*_norm)\.weight$/

/** A tensor of the output, under its GGUF name. */
export interface TensorToType {
  readonly name: string
  readonly shape: readonly number[]
  /** Of the source. */
  readonly from: TensorTypeName
}

export interface TypeChoice {
  readonly type: TensorTypeName
  /** The type that the rows' length does not allow. */
  readonly insteadOf?: TensorTypeName
}

export interface TypeOptions {
  /** Null: matrices stay as they are. */
  readonly type: TargetType | null
  /** The same type for every matrix. */
  readonly pure: boolean
  /** Patterns of names with the type that they get; of several that match, the last. Null: the source's. */
  readonly keep: readonly (readonly [pattern: string, type: TargetType | null])[]
}

/** One choice per tensor. Throws INVALID_ARGUMENT for a pattern that matches no tensor that may change. */
export function chooseTypes(tensors: readonly TensorToType[], options: TypeOptions): TypeChoice[] {
  const keep = options.keep.map(([pattern, type]) => ({ pattern, type, regex: patternRegex(pattern), used: false }))
  const choices = tensors.map((tensor): TypeChoice => {
    if (!isMatrix(tensor)) return { type: isFloat(tensor.from) ? 'f32' : tensor.from }
    const kept = keep.filter(({ regex }) => regex.test(tensor.name))
    for (const rule of kept) rule.used = true
    const last = kept.at(-1)
    const wanted = last ? last.type : mixture(tensor.name, options)
    return wanted === null ? { type: tensor.from } : fit(wanted, tensor)
  })
  const unused = keep.find(({ used }) => !used)
  if (unused)
    throw new InfernodeError(
      'INVALID_ARGUMENT',
      'keep',
      `patterns that match matrices of the checkpoint, such as "${tensors.find(isMatrix)?.name ?? 'output.weight'}"`,
      JSON.stringify(unused.pattern),
    )
  return choices
}

/** `*` stands for any characters; `.weight` at the end may be left out. */
function patternRegex(pattern: string): RegExp {
  const parts = pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'))
  return new RegExp(`^${parts.join('.*')}(\\.weight)?$`)
}

const isFloat = (type: TensorTypeName): boolean => type === 'f32' || type === 'f16' || type === 'bf16'

function isMatrix({ name, shape, from }: TensorToType): boolean {
  return shape.length > 1 && name.endsWith('.weight') && !leftAlone.test(name) && tensorTypes[from].activations !== null
}

/**
 * Embeddings and output matrix: q6_k for everything smaller. K-quants: attn_v and ffn_down one step up. Otherwise the type asked for.
 */
function mixture(name: string, { type, pure }: TypeOptions): TargetType | null {
  if (type === null || pure || isFloat(type) || type === 'q8_0') return type
  if (/^(token_embd|output)\.weight$/.test(name)) return 'q6_k'
  return /\.(attn_v|ffn_down|ffn_down_exps)\.weight$/.test(name) ? (stepUp[type] ?? type) : type
}

function fit(wanted: TargetType, { shape }: TensorToType): TypeChoice {
  const type = fittingType(wanted, shape.at(-1)!)
  return type === wanted ? { type } : { type, insteadOf: wanted }
}

/** The type whose blocks divide such rows: the one that is wanted, or what stands in for it. */
export function fittingType(wanted: TargetType, rowLength: number): TargetType {
  let type = wanted
  while (rowLength % tensorTypes[type].blockValues !== 0) type = fallbacks[type] ?? 'f16'
  return type
}
