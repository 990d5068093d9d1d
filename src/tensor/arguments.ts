/** What callers of Tensor may pass: options with their rules, and checks of everything that types alone do not hold. */
import { randomInt } from 'node:crypto'
import { InfernodeError } from '../errors.js'
import { abortSignal, boolean, finite, integer, invalid, oneOf, type Rule, type Rules } from '../options.js'
import {
  checkBlocks,
  checkShape,
  type ComparisonOp,
  comparisonOps,
  type Int8MatmulScales,
  type UnaryOp,
  unaryOps,
} from './calls.js'
import { arrayConstructor, bytesOf, type DType, dtypeOf, dtypes, isPlain, type PlainArray, type PlainDType } from './dtypes.js'
import { type Shape, sizeOf } from './shapes.js'
import type { RunOptions } from './view.js'

/** Checked where it is used. */
const anything: Rule = { expected: 'anything', accepts: () => true }

/** Functions, so that two objects never share what they hold. */
export const runRules: Rules<RunOptions> = { signal: abortSignal }
export const keepDimsRules: Rules<{ keepDims?: boolean }> = { keepDims: boolean }
export const reduceRules: Rules<RunOptions & { keepDims?: boolean }> = { ...runRules, ...keepDimsRules }
export const transposeRules: Rules<{ transposeB?: boolean }> = { transposeB: boolean }
export const matmulRules: Rules<RunOptions & { transposeB?: boolean }> = { ...runRules, ...transposeRules }
export const geluRules: Rules<RunOptions & { approximate?: 'none' | 'tanh' }> = {
  ...runRules,
  approximate: oneOf('none', 'tanh'),
}
export const normRules: Rules<RunOptions & { eps?: number }> = {
  ...runRules,
  eps: finite('a finite number of at least 0', (eps) => eps >= 0),
}
export const int8Rules: Rules<Int8MatmulScales & RunOptions> = {
  ...runRules,
  scaleA: finite('a finite number', () => true),
  zeroA: integerFrom(-(2 ** 30), 2 ** 30),
  scaleB: numberOrNumbers(Number.isFinite, 'a finite number', Float32Array),
  zeroB: numberOrNumbers((n) => Number.isInteger(n) && Math.abs(n) <= 2 ** 30, 'a whole number', Int32Array),
}
export const ropeRules: Rules<
  { start?: number; positions?: unknown; theta?: number; dims?: number; pairing?: string } & RunOptions
> = {
  ...runRules,
  start: integer(0, 2 ** 31 - 1),
  positions: anything,
  theta: finite('a positive number', (theta) => theta > 0),
  dims: integer(0),
  pairing: oneOf('half', 'interleaved'),
}
export const attentionRules: Rules<
  RunOptions & {
    causal?: boolean
    window?: number
    scale?: number
    softcap?: number
    lengths?: readonly number[]
    mask?: unknown
  }
> = {
  ...runRules,
  causal: boolean,
  window: integer(0),
  scale: finite('a finite number', () => true),
  softcap: finite('a number of at least 0', (cap) => cap >= 0),
  lengths: { expected: 'an array of whole numbers', accepts: Array.isArray },
  mask: anything,
}
export const dtypeRules: Rules<{ dtype?: DType }> = { dtype: anything }
export const randomRules: Rules<{ dtype?: DType; seed?: number; low?: number; high?: number }> = {
  ...dtypeRules,
  seed: integer(0),
  low: finite('a finite number', () => true),
  high: finite('a finite number', () => true),
}
export const normalRules: Rules<{ dtype?: DType; seed?: number; mean?: number; deviation?: number }> = {
  ...dtypeRules,
  seed: integer(0),
  mean: finite('a finite number', () => true),
  deviation: finite('a finite number', () => true),
}

function integerFrom(low: number, high: number): Rule {
  return {
    expected: `a whole number from ${low} to ${high}`,
    accepts: (n) => Number.isInteger(n) && (n as number) >= low && (n as number) <= high,
  }
}

function numberOrNumbers(
  accepts: (n: number) => boolean,
  expected: string,
  kind: typeof Float32Array | typeof Int32Array,
): Rule {
  const one = (n: unknown): boolean => typeof n === 'number' && accepts(n)
  return {
    expected: `${expected}, or an array of them`,
    accepts: (value) => one(value) || ((Array.isArray(value) || value instanceof kind) && [...(value as number[])].every(one)),
  }
}

export function checkDType(dtype: unknown): DType {
  if (!dtypes.includes(dtype as DType)) throw invalid('dtype', `one of ${dtypes.join(', ')}`, dtype)
  return dtype as DType
}

export function checkPlain(dtype: unknown): PlainDType {
  if (!isPlain(checkDType(dtype))) throw invalid('dtype', 'a plain dtype; quantize() makes the others', dtype)
  return dtype as PlainDType
}

export function checkNumber(name: string, value: unknown): number {
  if (typeof value !== 'number') throw invalid(name, 'a number', value)
  return value
}

export function checkUnary(op: unknown): UnaryOp {
  if (!unaryOps.includes(op as UnaryOp)) throw invalid('map', `one of ${unaryOps.join(', ')}`, op)
  return op as UnaryOp
}

export function checkComparison(op: unknown): ComparisonOp {
  if (!comparisonOps.includes(op as ComparisonOp)) throw invalid('compare', `one of ${comparisonOps.join(', ')}`, op)
  return op as ComparisonOp
}

export const seedOr = (seed: number | undefined): number => seed ?? randomInt(2 ** 32)

/** The dtype and shape of a tensor with an array's values. */
export function checkArray(array: unknown, shape: unknown, dtype: unknown): { array: PlainArray; dtype: DType; shape: Shape } {
  const type = dtype === undefined ? dtypeOf(array) : checkDType(dtype)
  if (!type || !(array instanceof arrayConstructor(type))) {
    const kind = type && `a ${arrayConstructor(type).name} for ${type}`
    throw invalid('array', kind ?? 'a Float32Array, Int32Array, Int8Array or Uint8Array, or a dtype beside it', array)
  }
  const given = shape === undefined ? [array.length] : checkShape(shape)
  if (isDetached(array) && sizeOf(given) > 0) throw new InfernodeError('TENSOR_DETACHED', 'array')
  if (!isPlain(type)) checkBlocks('a tensor', type, given)
  const length = bytesOf(type, sizeOf(given)) / array.BYTES_PER_ELEMENT
  if (array.length !== length) {
    const operands = `${type}[${given.join(', ')}] and a ${arrayConstructor(type).name}(${array.length})`
    throw new InfernodeError('TENSOR_MISMATCH', 'a tensor', operands, `${length} elements`)
  }
  return { array, dtype: type, shape: given }
}

export const isDetached = (array: PlainArray): boolean => array.length === 0 && array.buffer.byteLength === 0

/** The memory of an ArrayBuffer, under a new owner. */
export function transferred({ buffer }: PlainArray): ArrayBuffer {
  let ours: ArrayBuffer | undefined
  try {
    if (buffer instanceof ArrayBuffer) ours = structuredClone(buffer, { transfer: [buffer] })
  } catch {
    // Memory of WebAssembly; since Node 21 also what is marked as untransferable.
  }
  // Node 20 clones the pool of small Buffers instead of transferring it.
  if (ours && buffer.byteLength === 0) return ours
  const expected =
    'memory that can be adopted, not a SharedArrayBuffer, a pooled Buffer or WebAssembly memory; copyOf() takes it'
  throw new InfernodeError('INVALID_ARGUMENT', 'array', expected, 'such memory')
}
