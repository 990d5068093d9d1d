/**
 * The numeric contract of `linear`, word for word and one operation at a time: what every kernel must give bit for bit. f32
 * sums and products are float64 ones rounded (exactly what f32 would give: 53 ≥ 2 · 24 + 2 bits), an FMA rounds once.
 */
import { type TensorTypeName, tensorTypes } from '../../src/tensor-types.js'
import { matrix, type Matrix, row } from './matrix.js'
import { f16 } from './quant.js'

const f32 = Math.fround
const word = new Float64Array(1)
const halves = new Uint32Array(word.buffer)

/**
 * f32: a · b + c with one rounding. The product is exact in float64. The sum is rounded to odd there (an inexact result gets
 * an odd last bit), which the second rounding, to f32, cannot tell from the exact sum.
 */
export function fma(a: number, b: number, c: number): number {
  const product = a * b
  const sum = product + c
  if (!Number.isFinite(sum)) return sum
  // What the sum lost, exactly: Knuth's two-sum.
  const other = sum - product
  const lost = product - (sum - other) + (c - other)
  if (lost === 0) return f32(sum)
  word[0] = sum
  if (halves[0]! % 2 === 0) {
    // One step towards the exact sum: up in magnitude if what was lost has the same sign.
    if (lost > 0 === sum > 0) halves[0]!++
    else if (halves[0]!-- === 0) halves[1]!--
  }
  return f32(word[0]!)
}

/** Round half to even, for |x| < 2^51. */
const round = (x: number) => x + 1.5 * 2 ** 52 - 1.5 * 2 ** 52

/** Activations as int8, with one scale per block (native/quant/activations.h). */
export interface Quantized {
  readonly values: Int8Array
  readonly scales: Float32Array
}

export function quantizeRow(x: Float64Array, block: 32 | 256): Quantized {
  const values = new Int8Array(x.length)
  const scales = Float32Array.from({ length: x.length / block }, (_, b) => {
    const part = x.subarray(b * block, (b + 1) * block)
    if (!part.every(Number.isFinite)) return NaN
    const scale = f32(part.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 127)
    if (scale < 2 ** -126) return 0
    const inverse = f32(1 / scale)
    part.forEach((value, i) => (values[b * block + i] = Math.max(-127, Math.min(127, round(f32(value * inverse))))))
    return scale
  })
  return { values, scales }
}

/** Integers of a block as they enter its sums: a quant per value, a scale (and a minimum) per sub-block. */
interface IntegerBlock {
  readonly d: number
  readonly dmin: number
  /** Values per scale. */
  readonly sub: number
  readonly quants: Int32Array
  readonly scales: readonly number[]
  readonly mins: readonly number[]
}

/** The integers behind the bytes of a block. */
function integersOf(type: TensorTypeName, bytes: Uint8Array): IntegerBlock {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const nibble = (at: number, j: number) => (j < 16 ? view.getUint8(at + j) & 15 : view.getUint8(at + j - 16) >> 4)
  const quantsOf = (f: (i: number) => number) => Int32Array.from({ length: tensorTypes[type].blockValues }, (_, i) => f(i))
  const plain = { d: f16(view, 0), dmin: 0, sub: 32, scales: [1], mins: [0] }
  switch (type) {
    case 'q8_0':
      return { ...plain, quants: quantsOf((i) => view.getInt8(2 + i)) }
    case 'q4_0':
      return { ...plain, quants: quantsOf((i) => nibble(2, i) - 8) }
    case 'q5_0': {
      const fifths = view.getUint32(2, true)
      return { ...plain, quants: quantsOf((i) => (nibble(6, i) | (((fifths >>> i) & 1) << 4)) - 16) }
    }
    case 'q4_k': {
      const packed = (j: number) => view.getUint8(4 + j)
      const eight = [0, 1, 2, 3, 4, 5, 6, 7]
      const scale = (j: number) => (j < 4 ? packed(j) & 63 : (packed(j + 4) & 15) | ((packed(j - 4) >> 6) << 4))
      const min = (j: number) => (j < 4 ? packed(j + 4) & 63 : (packed(j + 4) >> 4) | ((packed(j) >> 6) << 4))
      const quant = (i: number) => (view.getUint8(16 + 32 * (i >> 6) + (i & 31)) >> (i & 32 ? 4 : 0)) & 15
      return { ...plain, dmin: f16(view, 2), quants: quantsOf(quant), scales: eight.map(scale), mins: eight.map(min) }
    }
    case 'q6_k': {
      const quant = (i: number) => {
        const [half, quarter, l] = [i >> 7, (i >> 5) & 3, i & 31]
        const low = view.getUint8(64 * half + 32 * (quarter & 1) + l) >> (quarter < 2 ? 0 : 4)
        const high = (view.getUint8(128 + 32 * half + l) >> (2 * quarter)) & 3
        return ((low & 15) | (high << 4)) - 32
      }
      const scales = Array.from({ length: 16 }, (_, j) => view.getInt8(192 + j))
      return { d: f16(view, 208), dmin: 0, sub: 16, quants: quantsOf(quant), scales, mins: [] }
    }
    default:
      throw new Error(`${type} has no integer products`)
  }
}

/** x · weightᵀ for a type whose products are integers: an exact sum per scale, then one FMA per scale, in increasing k. */
export function integerLinear(x: Matrix, type: TensorTypeName, bytes: Uint8Array): Matrix {
  const { blockValues, blockBytes, activations } = tensorTypes[type]
  const perRow = x.width / blockValues
  const nBlocks = bytes.length / blockBytes
  const blockAt = (b: number) => integersOf(type, bytes.subarray(b * blockBytes, (b + 1) * blockBytes))
  const blocks = Array.from({ length: nBlocks }, (_, b) => blockAt(b))
  const rows = Array.from({ length: x.rows }, (_, t) => quantizeRow(row(x, t), activations === 'a8_32' ? 32 : 256))
  return matrix(x.rows, nBlocks / perRow, (t, o) => {
    const { values, scales } = rows[t]!
    let acc = 0
    for (let b = 0; b < perRow; b++) {
      const block = blocks[o * perRow + b]!
      let products = 0
      let minimums = 0
      block.quants.forEach((quant, i) => {
        const sub = Math.floor(i / block.sub)
        const value = values[b * blockValues + i]!
        products += block.scales[sub]! * quant * value
        minimums += (block.mins[sub] ?? 0) * value
      })
      const da = scales[b]!
      acc = fma(f32(products), f32(block.d * da), acc)
      if (type === 'q4_k') acc = fma(-f32(minimums), f32(block.dmin * da), acc)
    }
    return acc
  })
}

/** The same for types that are read as f32: one FMA per value. `weight` holds the f32 values. */
export function floatLinear(x: Matrix, weight: Matrix): Matrix {
  return matrix(x.rows, weight.rows, (t, o) => {
    const [a, w] = [row(x, t), row(weight, o)]
    let acc = 0
    for (let k = 0; k < a.length; k++) acc = fma(w[k]!, a[k]!, acc)
    return acc
  })
}

const word32 = new Float32Array(1)
const bits32 = new Uint32Array(word32.buffer)

/** To nearest even. */
export function bf16(x: number): number {
  word32[0] = x
  bits32[0] = ((bits32[0]! + 0x7fff + ((bits32[0]! >>> 16) & 1)) & 0xffff0000) >>> 0
  return word32[0]!
}

/** bf16 weights where the variant multiplies pairs: activations as bf16, of each pair the second product first. */
export function bf16PairsLinear(x: Matrix, weight: Matrix): Matrix {
  return matrix(x.rows, weight.rows, (t, o) => {
    const [a, w] = [row(x, t), row(weight, o)]
    let acc = 0
    for (let k = 0; k < a.length; k += 2) {
      if (k + 1 < a.length) acc = fma(w[k + 1]!, bf16(a[k + 1]!), acc)
      acc = fma(w[k]!, bf16(a[k]!), acc)
    }
    return acc
  })
}
