/**
 * The numeric contract of `linear`, word for word and one operation at a time: what every kernel must give bit for bit. f32
 * sums and products are float64 ones rounded (exactly what f32 would give: 53 ≥ 2 · 24 + 2 bits), an FMA rounds once.
 */
import { type TensorTypeName, tensorTypes } from '../../src/tensor-types.js'
import { matrix, type Matrix, row } from './matrix.js'
import { decode, f16 } from './quant.js'

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

/** Where the types with integer products keep their f16 scale and their f16 minimum, which the K-quants subtract. */
export const scalesAt: Partial<Record<TensorTypeName, { readonly d: number; readonly min?: number; readonly subtracted?: true }>> = {
  q4_0: { d: 0 },
  q4_1: { d: 0, min: 2 },
  q5_0: { d: 0 },
  q5_1: { d: 0, min: 2 },
  q8_0: { d: 0 },
  iq4_nl: { d: 0 },
  q2_k: { d: 80, min: 82, subtracted: true },
  q3_k: { d: 108 },
  q4_k: { d: 0, min: 2, subtracted: true },
  q5_k: { d: 0, min: 2, subtracted: true },
  q6_k: { d: 208 },
  iq4_xs: { d: 0 },
}

/** A block as it enters its sums: integers (quants times sub-block scales, and the minimums'), and what these are scaled with. */
interface IntegerBlock {
  readonly d: number
  readonly quants: Float64Array
  readonly min: number
  readonly minimums: Float64Array | null
}

/** The integers are the block's values where one scale is 1 and the other 0. */
function integersOf(type: TensorTypeName, bytes: Uint8Array): IntegerBlock {
  const withScales = (set: (view: DataView) => void) => {
    const copy = bytes.slice()
    set(new DataView(copy.buffer))
    return decode(type, copy)
  }
  if (type === 'mxfp4') {
    // Its values have halves: the integers are twice the values, so the scale is halved. An exponent of 128 doubles.
    return { d: 2 ** (bytes[0]! - 128), quants: withScales((view) => view.setUint8(0, 128)), min: 0, minimums: null }
  }
  const at = scalesAt[type]
  if (!at) throw new Error(`${type} has no integer products`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const one = 0x3c00
  const scaled = (d: number, min: number) =>
    withScales((copy) => {
      copy.setUint16(at.d, d, true)
      if (at.min !== undefined) copy.setUint16(at.min, min, true)
    })
  const quants = scaled(one, 0)
  if (at.min === undefined) return { d: f16(view, at.d), quants, min: 0, minimums: null }
  return { d: f16(view, at.d), quants, min: f16(view, at.min), minimums: scaled(0, one) }
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
      const { d, quants, min, minimums } = blocks[o * perRow + b]!
      const sum = (integers: Float64Array) => integers.reduce((all, integer, i) => all + integer * values[b * blockValues + i]!, 0)
      const da = scales[b]!
      acc = fma(f32(sum(quants)), f32(d * da), acc)
      // What is subtracted is the sum, with its sign: -0 where it is 0.
      if (minimums) acc = fma(scalesAt[type]!.subtracted ? -f32(0 - sum(minimums)) : f32(sum(minimums)), f32(min * da), acc)
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
