/** The ops of Tensor: what each accepts, and the shape and dtype of its result. Every mistake is worded here, with all shapes. */
import { InfernodeError } from '../errors.js'
import { invalid } from '../options.js'
import { encodableTypes } from '../quantize/encode.js'
import { tensorTypes } from '../tensor-types.js'
import { type DType, isFloat, isPlain, numberOf } from './dtypes.js'
import { broadcastShape, maxRank, type Shape, sizeOf, stridesOf } from './shapes.js'
import { type Call, mismatch, type View, viewOf } from './view.js'

export const unaryOps = [
  'neg',
  'abs',
  'sqrt',
  'exp',
  'log',
  'tanh',
  'sigmoid',
  'relu',
  'square',
  'reciprocal',
  'silu',
  'gelu',
  'geluTanh',
] as const
export type UnaryOp = (typeof unaryOps)[number]
export type ArithmeticOp = 'add' | 'sub' | 'mul' | 'div' | 'pow' | 'minimum' | 'maximum' | 'swiglu'
export const comparisonOps = ['equal', 'notEqual', 'less', 'lessEqual', 'greater', 'greaterEqual'] as const
export type ComparisonOp = (typeof comparisonOps)[number]
export type ReductionOp = 'sum' | 'mean' | 'max' | 'min' | 'argmax' | 'argmin'

const floats = 'f32, f16 or bf16'

function needFloat(op: string, x: View): void {
  if (!isFloat(x.dtype)) throw mismatch(op, [x], `a tensor of ${floats}`)
}

export function unaryCall(op: UnaryOp, x: View): Call {
  needFloat(op, x)
  return { op, operands: [x], attributes: [], results: [{ dtype: x.dtype, shape: x.shape }] }
}

export function binaryCall(op: ArithmeticOp | ComparisonOp, a: View, b: View | number): Call {
  const compares = comparisonOps.includes(op as ComparisonOp)
  const inIntegers = compares || ['add', 'sub', 'mul', 'minimum', 'maximum'].includes(op)
  const able = isFloat(a.dtype) || (compares && isPlain(a.dtype)) || (a.dtype === 'i32' && inIntegers)
  const operands = typeof b === 'number' ? [a] : [a, b]
  if (!able) throw mismatch(op, operands, inIntegers ? `dtypes ${floats} or i32` : `dtypes ${floats}`)
  const dtype = compares ? 'bool' : a.dtype
  if (typeof b === 'number') {
    if (!isFloat(a.dtype) && !(Number.isInteger(b) && Math.abs(b) < 2 ** 31))
      throw invalid(op, 'a whole number beside integers', b)
    return { op, operands: [a], attributes: [b], results: [{ dtype, shape: a.shape }] }
  }
  if (a.dtype !== b.dtype) throw mismatch(op, operands, 'one dtype')
  const shape = broadcastShape(a.shape, b.shape)
  if (!shape) throw mismatch(op, operands, 'shapes that broadcast: from the right, sizes are equal or 1')
  return { op, operands, attributes: [], results: [{ dtype, shape }] }
}

export function whereCall(condition: View, a: View, b: View): Call {
  const both = broadcastShape(a.shape, b.shape)
  const shape = both && broadcastShape(condition.shape, both)
  if (condition.dtype !== 'bool' || a.dtype !== b.dtype || !isPlain(a.dtype) || !shape) {
    throw mismatch('where', [condition, a, b], 'a condition of bool, one dtype, and shapes that broadcast')
  }
  return { op: 'where', operands: [condition, a, b], attributes: [], results: [{ dtype: a.dtype, shape }] }
}

/** An axis counted from the front, from -rank to rank - 1. */
function axisOf(op: string, axis: unknown, { shape }: View): number {
  const rank = shape.length
  if (!Number.isInteger(axis) || (axis as number) < -rank || (axis as number) >= rank) {
    throw invalid(`${op}: axis`, rank === 0 ? 'no axis of a scalar' : `a whole number from ${-rank} to ${rank - 1}`, axis)
  }
  return (axis as number) < 0 ? (axis as number) + rank : (axis as number)
}

export function permutedView(x: View, axes: readonly number[]): View {
  return { ...x, shape: axes.map((a) => x.shape[a]!), strides: axes.map((a) => x.strides[a]!) }
}

export function reduceCall(op: ReductionOp, x: View, axes: number | readonly number[] | undefined, keepDims: boolean): Call {
  const all = x.shape.map((_, d) => d)
  const reduced =
    axes === undefined
      ? all
      : [...new Set((Array.isArray(axes) ? axes : [axes]).map((axis) => axisOf(op, axis, x)))].sort((a, b) => a - b)
  if (!isPlain(x.dtype)) throw mismatch(op, [x], 'a tensor that is not quantized')
  const kept = all.filter((d) => !reduced.includes(d))
  const count = reduced.reduce((n, d) => n * x.shape[d]!, 1)
  if (count === 0 && op !== 'sum' && op !== 'mean' && kept.every((d) => x.shape[d] !== 0))
    throw mismatch(op, [x], 'at least one value to choose from')
  const arg = op === 'argmax' || op === 'argmin'
  const dtype: DType = arg ? 'i32' : isFloat(x.dtype) || op === 'max' || op === 'min' ? x.dtype : op === 'sum' ? 'i32' : 'f32'
  const shape = keepDims ? x.shape.map((n, d) => (reduced.includes(d) ? 1 : n)) : kept.map((d) => x.shape[d]!)
  return { op, operands: [permutedView(x, [...kept, ...reduced])], attributes: [reduced.length], results: [{ dtype, shape }] }
}

export function softmaxCall(x: View, axis: number): Call {
  needFloat('softmax', x)
  const last = axisOf('softmax', axis, x)
  const axes = [...x.shape.map((_, d) => d).filter((d) => d !== last), last]
  const turned = permutedView(x, axes)
  const dense = stridesOf(turned.shape)
  const strides = x.shape.map((_, d) => dense[axes.indexOf(d)]!)
  return { op: 'softmax', operands: [turned], attributes: [], results: [{ dtype: x.dtype, shape: x.shape, strides }] }
}

export function topKCall(x: View, k: number): Call {
  const n = x.shape.at(-1)
  if (!isFloat(x.dtype) || n === undefined) throw mismatch('topK', [x], `a tensor of ${floats} with a last dimension`)
  if (!Number.isInteger(k) || k < 0 || k > n) throw invalid('topK: k', `a whole number from 0 to ${n}`, k)
  const shape = [...x.shape.slice(0, -1), k]
  return {
    op: 'topK',
    operands: [x],
    attributes: [k],
    results: [
      { dtype: 'f32', shape },
      { dtype: 'i32', shape },
    ],
  }
}

export function matmulCall(a: View, b: View, transposeB: boolean): Call {
  const wrong = (expected: string): InfernodeError => mismatch('matmul', [a, b], expected)
  if (!isFloat(a.dtype)) throw wrong(`a left matrix of ${floats}`)
  if (isPlain(b.dtype) && !isFloat(b.dtype))
    throw wrong(`a right matrix of ${floats} or a quantized type; int8Matmul() multiplies integers`)
  if (a.shape.length < 2 || b.shape.length < 2) throw wrong('matrices, with two dimensions or more')
  if (!isPlain(b.dtype) && !transposeB)
    throw wrong('transposeB: true beside a quantized matrix [N, K], whose blocks lie along K')
  const [m, k] = a.shape.slice(-2) as [number, number]
  const [n, inner] = (transposeB ? b.shape.slice(-2) : b.shape.slice(-2).reverse()) as [number, number]
  if (k !== inner) throw wrong(transposeB ? '[…, M, K] and […, N, K] with one K' : '[…, M, K] and […, K, N] with one K')
  const batch = broadcastShape(a.shape.slice(0, -2), b.shape.slice(0, -2))
  if (!batch) throw wrong('leading dimensions that broadcast')
  return {
    op: 'matmul',
    operands: [a, b],
    attributes: [transposeB ? 1 : 0],
    results: [{ dtype: 'f32', shape: [...batch, m, n] }],
  }
}

export interface Int8MatmulScales {
  /** One for the left matrix. Default 1. */
  readonly scaleA?: number
  readonly zeroA?: number
  /** One for the right matrix, or one per row of it, so per column of the result. Default: none, the result is the i32 sums. */
  readonly scaleB?: number | readonly number[] | Float32Array
  readonly zeroB?: number | readonly number[] | Int32Array
}

export function int8MatmulCall(a: View, b: View, { scaleA, zeroA = 0, scaleB, zeroB = 0 }: Int8MatmulScales): Call {
  const bytes = (x: View): boolean => x.dtype === 'i8' || x.dtype === 'u8'
  if (!bytes(a) || !bytes(b) || a.shape.length !== 2 || b.shape.length !== 2 || a.shape[1] !== b.shape[1]) {
    throw mismatch('int8Matmul', [a, b], '[M, K] and [N, K] of i8 or u8 with one K')
  }
  const n = b.shape[0]!
  const perRow = <T extends Float32Array | Int32Array>(name: string, given: number | ArrayLike<number>, array: T): T => {
    for (let i = 0; i < array.length; i++) array[i] = typeof given === 'number' ? given : given[i]!
    if (typeof given !== 'number' && given.length !== n) throw invalid(name, `one number, or ${n}`, given)
    return array
  }
  const length = (given: number | ArrayLike<number>): number => (typeof given === 'number' ? 1 : given.length)
  const scaled = scaleA !== undefined || scaleB !== undefined
  const scales = perRow('scaleB', scaleB ?? 1, new Float32Array(length(scaleB ?? 1)))
  const zeros = perRow('zeroB', zeroB, new Int32Array(length(zeroB)))
  if (!Number.isInteger(zeroA) || Math.abs(zeroA) > 2 ** 30) throw invalid('zeroA', 'a whole number', zeroA)
  const operands = [a, b, scaled ? viewOf(scales, 'f32', [scales.length]) : null, viewOf(zeros, 'i32', [zeros.length])]
  return {
    op: 'int8Matmul',
    operands,
    attributes: [scaleA ?? 1, zeroA],
    results: [{ dtype: scaled ? 'f32' : 'i32', shape: [a.shape[0]!, n] }],
  }
}

function normOperand(op: string, name: string, x: View, weight: View | undefined): View | null {
  if (!weight) return null
  if (!isFloat(weight.dtype) || weight.shape.length !== 1 || weight.shape[0] !== x.shape.at(-1)) {
    throw mismatch(op, [x, weight], `a ${name} as long as the last dimension`)
  }
  return weight
}

export function normCall(
  op: 'rmsNorm' | 'layerNorm',
  x: View,
  weight: View | undefined,
  bias: View | undefined,
  eps: number,
): Call {
  needFloat(op, x)
  if (x.shape.length === 0) throw mismatch(op, [x], 'a last dimension')
  if (!(eps >= 0 && Number.isFinite(eps))) throw invalid(`${op}: eps`, 'a finite number of at least 0', eps)
  const operands = [x, normOperand(op, 'weight', x, weight), ...(op === 'layerNorm' ? [normOperand(op, 'bias', x, bias)] : [])]
  return { op, operands, attributes: [eps], results: [{ dtype: x.dtype, shape: x.shape }] }
}

export interface RopeOptions {
  /** Position of the first row, the others follow. Default 0. */
  readonly start?: number
  /** Positions of the rows instead: i32, [T] or anything that broadcasts to [..., T]. */
  readonly positions?: View
  /** Frequency i is theta^(-2i / dims). Default 10,000. */
  readonly theta?: number
  /** Values of a head that are rotated, from the first. Default: all. */
  readonly dims?: number
  /** Default 'half': value i turns with value i + dims / 2. 'interleaved': 2i with 2i + 1. */
  readonly pairing?: 'half' | 'interleaved'
}

export function ropeCall(x: View, { start = 0, positions, theta = 10000, dims, pairing = 'half' }: RopeOptions): Call {
  if (!isFloat(x.dtype) || x.shape.length < 3) throw mismatch('rope', [x], `[..., tokens, heads, headDim] of ${floats}`)
  const headDim = x.shape.at(-1)!
  const rotated = dims ?? headDim
  if (!Number.isInteger(rotated) || rotated < 0 || rotated % 2 !== 0 || rotated > headDim)
    throw invalid('rope: dims', `an even number up to ${headDim}`, rotated)
  if (!(theta > 0 && Number.isFinite(theta))) throw invalid('rope: theta', 'a positive number', theta)
  if (pairing !== 'half' && pairing !== 'interleaved') throw invalid('rope: pairing', '"half" or "interleaved"', pairing)
  const tokens = x.shape.at(-3)!
  if (!positions && !(Number.isInteger(start) && start >= 0 && start + tokens < 2 ** 31))
    throw invalid('rope: start', 'a whole number of at least 0', start)
  const at =
    positions ??
    viewOf(
      Int32Array.from({ length: tokens }, (_, t) => start + t),
      'i32',
      [tokens],
    )
  const rows = x.shape.slice(0, -2)
  const common = broadcastShape(at.shape, rows)
  if (at.dtype !== 'i32' || common?.join() !== rows.join())
    throw mismatch('rope', [x, at], 'positions of i32 that broadcast to [..., tokens]')
  const frequencies = Float32Array.from({ length: rotated / 2 }, (_, i) => theta ** ((-2 * i) / rotated))
  const operands = [x, at, viewOf(frequencies, 'f32', [frequencies.length])]
  return {
    op: 'rope',
    operands,
    attributes: [1, pairing === 'interleaved' ? 1 : 0],
    results: [{ dtype: x.dtype, shape: x.shape }],
  }
}

export function embeddingCall(table: View, ids: View): Call {
  if (
    table.shape.length !== 2 ||
    (isPlain(table.dtype) && !isFloat(table.dtype)) ||
    ids.dtype !== 'i32' ||
    ids.shape.length > 7
  ) {
    throw mismatch('embedding', [table, ids], 'a table [V, D] of floats or a quantized type, and ids of i32')
  }
  if (table.strides[1] !== 1 && table.shape[1]! > 1)
    throw mismatch('embedding', [table, ids], 'a table whose rows lie in one piece; call contiguous() first')
  return {
    op: 'embedding',
    operands: [table, ids],
    attributes: [],
    results: [{ dtype: 'f32', shape: [...ids.shape, table.shape[1]!] }],
  }
}

export interface AttentionCallOptions {
  readonly causal: boolean
  readonly window: number | undefined
  readonly scale: number | undefined
  readonly softcap: number | undefined
  readonly lengths: readonly number[] | undefined
  readonly mask: View | undefined
}

export function attentionCall(
  q: View,
  k: View,
  v: View,
  { causal, window = 0, scale, softcap = 0, lengths, mask }: AttentionCallOptions,
): Call {
  const wrong = (expected: string): InfernodeError => mismatch('attention', [q, k, v, ...(mask ? [mask] : [])], expected)
  const rank = q.shape.length
  if ((rank !== 3 && rank !== 4) || k.shape.length !== rank || v.shape.length !== rank)
    throw wrong('q [B, T, H, E] and k, v [B, S, K, E], or all without B')
  if (![q, k, v].every((x) => isFloat(x.dtype))) throw wrong(`tensors of ${floats}`)
  if (k.shape.join() !== v.shape.join()) throw wrong('one shape of k and v')
  const batched = (x: View): View => (rank === 4 ? x : { ...x, shape: [1, ...x.shape], strides: [0, ...x.strides] })
  const [b, t, h, e] = batched(q).shape as [number, number, number, number]
  const [kb, s, kh, ke] = batched(k).shape as [number, number, number, number]
  if (b !== kb || e !== ke || e === 0 || kh === 0 || h % kh !== 0)
    throw wrong('one batch and headDim, and heads of q that are a multiple of those of k')
  if (!Number.isInteger(window) || window < 0) throw invalid('attention: window', 'a whole number of at least 0', window)
  if (!(softcap >= 0 && Number.isFinite(softcap))) throw invalid('attention: softcap', 'a number of at least 0', softcap)
  if (scale !== undefined && !Number.isFinite(scale)) throw invalid('attention: scale', 'a finite number', scale)
  if (lengths && (lengths.length !== b || lengths.some((n) => !Number.isInteger(n) || n < 0 || n > s))) {
    throw invalid('attention: lengths', `${b} whole numbers up to ${s}`, lengths)
  }
  const least = Math.min(s, ...(lengths ?? []))
  if ((causal || window > 0) && b > 0 && least < t)
    throw wrong(`at least as many keys (${least}) as queries (${t}), for the last query is at the last key`)
  let wide: View | null = null
  if (mask) {
    const expected = [b, h, t, s]
    if (broadcastShape(mask.shape, expected)?.join() !== expected.join() || !(mask.dtype === 'bool' || isFloat(mask.dtype))) {
      throw wrong(`a mask of bool or floats that broadcasts to [${expected.join(', ')}]`)
    }
    const missing = 4 - mask.shape.length
    const strides = expected.map((n, d) =>
      d < missing || (mask.shape[d - missing] === 1 && n !== 1) ? 0 : mask.strides[d - missing]!,
    )
    wide = { ...mask, shape: expected, strides }
  }
  const attributes = [scale ?? 1 / Math.sqrt(e), causal ? 1 : 0, window, softcap, ...(lengths ?? [])]
  return {
    op: 'attention',
    operands: [batched(q), batched(k), batched(v), wide],
    attributes,
    results: [{ dtype: 'f32', shape: q.shape }],
  }
}

/** Throws unless rows of this shape are whole blocks. */
export function checkBlocks(op: string, dtype: DType, shape: Shape): void {
  const block = tensorTypes[dtype].blockValues
  if (shape.length === 0 || shape.at(-1)! % block !== 0) {
    throw mismatch(op, [{ dtype, shape }], `a last dimension that is a multiple of ${block}, the block of ${dtype}`)
  }
}

export function convertCall(op: string, x: View, dtype: DType): Call {
  if (!isPlain(dtype)) {
    if (x.dtype !== dtype && !encodableTypes().includes(dtype)) {
      throw new InfernodeError('OPERATION_UNSUPPORTED', `Quantizing to ${dtype}`, 'this version, which has no encoder for it')
    }
    if (!isFloat(x.dtype) && x.dtype !== dtype) throw mismatch(op, [x], `a tensor of ${floats}`)
    checkBlocks(op, dtype, x.shape)
  }
  return { op: 'convert', operands: [x], attributes: [numberOf(dtype)], results: [{ dtype, shape: x.shape }] }
}

/** Throws unless `shape` is an array of at most 8 whole numbers of at least `least`. */
export function checkShape(shape: unknown, name = 'shape', least = 0): number[] {
  const sizes = Array.isArray(shape) ? [...(shape as unknown[])] : undefined
  const valid = sizes && sizes.length <= maxRank && sizes.every((n) => Number.isSafeInteger(n) && (n as number) >= least)
  if (!valid || Math.abs(sizeOf(sizes as number[])) > 2 ** 46) {
    throw invalid(name, `an array of at most ${maxRank} whole numbers of at least ${least}`, shape)
  }
  return sizes as number[]
}
