/** Made-up tensors for tests of ops: matrices of plain numbers, and weights of every type as bytes. */
import { type TensorTypeName, tensorTypes } from '../../src/tensor-types.js'
import { matrix, type Matrix } from '../reference/matrix.js'
import { bytesOf } from '../reference/quant.js'

export interface TestTensor {
  readonly type: TensorTypeName
  readonly shape: readonly number[]
  readonly bytes: Uint8Array
  /** The bytes are those of the transpose. */
  readonly transposed?: true
}

/** The same matrix with its bytes the other way round: plain types only. */
export function transposed({ type, shape, bytes }: TestTensor): TestTensor {
  const [rows, cols] = shape as [number, number]
  const size = tensorTypes[type].blockBytes
  const out = new Uint8Array(bytes.length)
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < cols; c++) out.set(bytes.subarray((r * cols + c) * size, (r * cols + c + 1) * size), (c * rows + r) * size)
  return { type, shape, bytes: out, transposed: true }
}

/** Numbers in [0, 1), the same for a seed on every machine (xorshift, 32 bits). */
export function randomNumbers(seed: number): () => number {
  let state = Math.imul(seed + 1, 0x9e3779b1) | 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 32
  }
}

/** f32 values in [-1, 1). */
export function random(rows: number, width: number, seed: number): Matrix {
  const next = randomNumbers(seed)
  return matrix(rows, width, () => Math.fround(2 * next() - 1))
}

/**
 * Values that int8 blocks hold exactly: multiples of 1/64 up to 127/64, which every 32 values reach, so that scales are 1/64.
 * What a matmul makes of them differs from float64 by f32 roundings alone.
 */
export function randomExact(rows: number, width: number, seed: number): Matrix {
  const next = randomNumbers(seed)
  return matrix(rows, width, (_, i) => (i % 32 === 5 ? 127 : Math.floor(255 * next()) - 127) / 64)
}

export function f32Tensor(values: Matrix | readonly number[]): TestTensor {
  const [shape, data] = 'width' in values ? [[values.rows, values.width], values.data] : [[values.length], values]
  return { type: 'f32', shape, bytes: new Uint8Array(Float32Array.from(data).buffer) }
}

/** Where blocks keep their f16 scales, and about how large a scale makes values near 1. */
const scales: Partial<Record<TensorTypeName, { at: readonly number[]; size: number }>> = {
  q8_0: { at: [0], size: 2 ** -7 },
  q4_0: { at: [0], size: 2 ** -3 },
  q4_1: { at: [0, 2], size: 2 ** -3 },
  q5_0: { at: [0], size: 2 ** -4 },
  q5_1: { at: [0, 2], size: 2 ** -4 },
  q2_k: { at: [80, 82], size: 2 ** -5 },
  q3_k: { at: [108], size: 2 ** -6 },
  q4_k: { at: [0, 2], size: 2 ** -9 },
  q5_k: { at: [0, 2], size: 2 ** -10 },
  q6_k: { at: [208], size: 2 ** -11 },
  iq4_nl: { at: [0], size: 2 ** -7 },
  iq4_xs: { at: [0], size: 2 ** -12 },
  nvfp4: { at: [], size: 0 },
  iq1_s: { at: [0], size: 2 ** -4 },
  iq2_xxs: { at: [0], size: 2 ** -7 },
  iq2_xs: { at: [0], size: 2 ** -7 },
  iq2_s: { at: [0], size: 2 ** -7 },
  iq3_xxs: { at: [0], size: 2 ** -9 },
  iq3_s: { at: [0], size: 2 ** -9 },
  tq1_0: { at: [52], size: 1 },
  tq2_0: { at: [64], size: 1 },
}

/** Any bits but for the scales: every quant, sub-scale and minimum occurs, -128 too. One dimension or two. */
export function randomTensor(type: TensorTypeName, shape: readonly number[], seed: number): TestTensor {
  const next = randomNumbers(seed)
  const bytes = Uint8Array.from({ length: bytesOf(type, shape) }, () => Math.floor(256 * next()))
  const view = new DataView(bytes.buffer)
  const { blockBytes } = tensorTypes[type]
  for (let block = 0; block < bytes.length; block += blockBytes) {
    if (type === 'f32') view.setFloat32(block, 2 * next() - 1, true)
    else if (type === 'f16') view.setUint16(block, f16Bits(next), true)
    else if (type === 'bf16') view.setUint16(block, (next() < 0.5 ? 0x8000 : 0) | (0x3d00 + Math.floor(0x280 * next())), true)
    else if (type === 'mxfp4') view.setUint8(block, 122 + Math.floor(4 * next()))
    else if (type === 'nvfp4') for (let sub = 0; sub < 4; sub++) view.setUint8(block + sub, 0x10 + Math.floor(0x20 * next()))
    else if (type === 'iq1_m') setSplitScale(view, block + 48, f16Bits(next, 2 ** -4))
    else for (const at of scales[type]!.at) view.setUint16(block + at, f16Bits(next, scales[type]!.size), true)
  }
  return { type, shape, bytes }
}

/** iq1_m keeps its f16 scale in the upper four bits of four words. */
function setSplitScale(view: DataView, at: number, bits: number): void {
  for (let i = 0; i < 4; i++)
    view.setUint16(at + 2 * i, (view.getUint16(at + 2 * i, true) & 0xfff) | (((bits >> (4 * i)) & 15) << 12), true)
}

/** A power of two near `size` with a random sign and fraction. */
function f16Bits(next: () => number, size = 0.5): number {
  const exponent = Math.max(0, Math.round(Math.log2(size)) + 15)
  return (next() < 0.5 ? 0x8000 : 0) | (exponent << 10) | Math.floor(1024 * next())
}
