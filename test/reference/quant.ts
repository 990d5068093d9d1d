/** Weights as float64, one row of blocks at a time: plain readings of the block layouts, independent of native/quant. */
import { readFileSync } from 'node:fs'
import type { TensorTypeName } from '../../src/tensor-types.js'
import { rowBytes, tensorTypes } from '../../src/tensor-types.js'

type DecodeBlock = (block: DataView, out: (index: number, value: number) => void) => void

export function f16(view: DataView, offset: number): number {
  const bits = view.getUint16(offset, true)
  const exponent = (bits >> 10) & 31
  const fraction = bits & 1023
  const sign = bits & 0x8000 ? -1 : 1
  if (exponent === 31) return fraction ? NaN : sign * Infinity
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15))
}

function bf16(view: DataView, offset: number): number {
  const word = new DataView(new ArrayBuffer(4))
  word.setUint32(0, view.getUint16(offset, true) << 16)
  return word.getFloat32(0)
}

/** Four-bit quants: byte j holds value j in its low half and value j + 16 in its high half. */
const nibble = (block: DataView, at: number, j: number) =>
  j < 16 ? block.getUint8(at + j) & 15 : block.getUint8(at + j - 16) >> 4
/** The fifth bit of value j, out of 32 bits. */
const fifth = (block: DataView, at: number, j: number) => ((block.getUint32(at, true) >>> j) & 1) << 4

/** The 6-bit scale and minimum of sub-block j of q4_k: eight of each in twelve bytes. */
function scaleAndMin(block: DataView, j: number): [number, number] {
  const byte = (i: number) => block.getUint8(4 + i)
  if (j < 4) return [byte(j) & 63, byte(j + 4) & 63]
  return [(byte(j + 4) & 15) | ((byte(j - 4) >> 6) << 4), (byte(j + 4) >> 4) | ((byte(j) >> 6) << 4)]
}

/** Value i of 256: each half of 128 values lies in 32 bytes, its four quarters in one pair of bits each. */
const twoBits = (block: DataView, at: number, i: number) =>
  (block.getUint8(at + 32 * (i >> 7) + (i & 31)) >> (2 * ((i >> 5) & 3))) & 3

/** The signed 6-bit scale of sub-block j of q3_k: four low bits in bytes 0 to 7, two high bits in bytes 8 to 11. */
function threeBitScale(block: DataView, j: number): number {
  const byte = (i: number) => block.getUint8(96 + i)
  const low = j < 8 ? byte(j) & 15 : byte(j - 8) >> 4
  return (low | (((byte(8 + (j & 3)) >> (2 * (j >> 2))) & 3) << 4)) - 32
}

/** The levels of iq4_nl and iq4_xs. */
const iq4 = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]
/** The values of mxfp4: E2M1 of the OCP Microscaling Formats. */
const e2m1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6].flatMap((x, i, all) => (i === 7 ? [x, ...all.map((y) => -y)] : [x]))

/** The numbers of a codebook, out of the generated header; what they mean is read here anew. */
const codebooks = readFileSync(new URL('../../native/quant/codebooks.h', import.meta.url), 'utf8')
function codebook(name: string): number[] {
  const body = new RegExp(`${name}\\[\\d+\\] = \\{([^}]*)\\}`).exec(codebooks)![1]!
  return body.match(/0x[0-9a-f]+/g)!.map(Number)
}
const grids = {
  iq1: codebook('kIq1Grid'),
  iq2_xxs: codebook('kIq2XxsGrid'),
  iq2_xs: codebook('kIq2XsGrid'),
  iq2_s: codebook('kIq2SGrid'),
  iq3_xxs: codebook('kIq3XxsGrid'),
  iq3_s: codebook('kIq3SGrid'),
}
const iq2 = (entry: number, j: number) => [8, 25, 43, NaN][(entry >> (2 * j)) & 3]!
const iq3 = (entry: number, j: number) => (entry >> (3 * j)) & 7

/** Sign of value j out of seven bits, of which an even number of minuses follows. */
function signOf(seven: number, j: number): number {
  if (j < 7) return (seven >> j) & 1 ? -1 : 1
  return Array.from({ length: 7 }, (_, i) => signOf(seven, i)).reduce((product, sign) => product * sign, 1)
}

/** An unsigned float of four bits of exponent and three of fraction; 0x7f counts as 0. */
function e4m3(bits: number): number {
  if (bits === 0x7f) return 0
  const exponent = (bits >> 3) & 15
  return exponent === 0 ? (bits & 7) * 2 ** -9 : (1 + (bits & 7) / 8) * 2 ** (exponent - 7)
}

/** Eight values of an entry of iq1's codebook, moved by an eighth. */
function iq1Group(first: number, entry: number, scale: number, minus: boolean, out: Parameters<DecodeBlock>[1]): void {
  for (let j = 0; j < 8; j++) out(first + j, scale * (((grids.iq1[entry]! >> (2 * j)) & 3) - 1 + (minus ? -0.125 : 0.125)))
}

const decoders: Partial<Record<TensorTypeName, DecodeBlock>> = {
  f32: (block, out) => out(0, block.getFloat32(0, true)),
  f16: (block, out) => out(0, f16(block, 0)),
  bf16: (block, out) => out(0, bf16(block, 0)),
  q8_0: (block, out) => {
    for (let j = 0; j < 32; j++) out(j, f16(block, 0) * block.getInt8(2 + j))
  },
  q4_0: (block, out) => {
    for (let j = 0; j < 32; j++) out(j, f16(block, 0) * (nibble(block, 2, j) - 8))
  },
  q4_1: (block, out) => {
    for (let j = 0; j < 32; j++) out(j, f16(block, 0) * nibble(block, 4, j) + f16(block, 2))
  },
  q5_0: (block, out) => {
    for (let j = 0; j < 32; j++) out(j, f16(block, 0) * ((nibble(block, 6, j) | fifth(block, 2, j)) - 16))
  },
  q5_1: (block, out) => {
    for (let j = 0; j < 32; j++) out(j, f16(block, 0) * (nibble(block, 8, j) | fifth(block, 4, j)) + f16(block, 2))
  },
  q4_k: (block, out) => {
    for (let j = 0; j < 8; j++) {
      const [scale, min] = scaleAndMin(block, j)
      for (let l = 0; l < 32; l++) {
        const byte = block.getUint8(16 + 32 * (j >> 1) + l)
        out(32 * j + l, f16(block, 0) * scale * (j & 1 ? byte >> 4 : byte & 15) - f16(block, 2) * min)
      }
    }
  },
  q5_k: (block, out) => {
    for (let j = 0; j < 8; j++) {
      const [scale, min] = scaleAndMin(block, j)
      for (let l = 0; l < 32; l++) {
        const byte = block.getUint8(48 + 32 * (j >> 1) + l)
        const quant = (j & 1 ? byte >> 4 : byte & 15) | (((block.getUint8(16 + l) >> j) & 1) << 4)
        out(32 * j + l, f16(block, 0) * scale * quant - f16(block, 2) * min)
      }
    }
  },
  q2_k: (block, out) => {
    for (let i = 0; i < 256; i++) {
      const sub = block.getUint8(i >> 4)
      const quant = twoBits(block, 16, i)
      out(i, f16(block, 80) * (sub & 15) * quant - f16(block, 82) * (sub >> 4))
    }
  },
  q3_k: (block, out) => {
    for (let i = 0; i < 256; i++) {
      const high = (block.getUint8(i & 31) >> (i >> 5)) & 1
      out(i, f16(block, 108) * threeBitScale(block, i >> 4) * ((twoBits(block, 32, i) | (high << 2)) - 4))
    }
  },
  iq4_nl: (block, out) => {
    for (let j = 0; j < 32; j++) out(j, f16(block, 0) * iq4[nibble(block, 2, j)]!)
  },
  iq4_xs: (block, out) => {
    for (let i = 0; i < 256; i++) {
      const sub = i >> 5
      const low = (block.getUint8(4 + (sub >> 1)) >> (4 * (sub & 1))) & 15
      const high = (block.getUint16(2, true) >> (2 * sub)) & 3
      out(i, f16(block, 0) * ((low | (high << 4)) - 32) * iq4[nibble(block, 8 + 16 * sub, i & 31)]!)
    }
  },
  mxfp4: (block, out) => {
    for (let j = 0; j < 32; j++) out(j, 2 ** (block.getUint8(0) - 127) * e2m1[nibble(block, 1, j)]!)
  },
  nvfp4: (block, out) => {
    for (let i = 0; i < 64; i++) {
      const byte = block.getUint8(4 + 8 * (i >> 4) + (i & 7))
      out(i, e4m3(block.getUint8(i >> 4)) * e2m1[i & 8 ? byte >> 4 : byte & 15]!)
    }
  },
  iq1_s: (block, out) => {
    for (let group = 0; group < 32; group++) {
      const rest = block.getUint16(34 + 2 * (group >> 2), true)
      const entry = block.getUint8(2 + group) + 256 * ((rest >> (3 * (group & 3))) & 7)
      iq1Group(8 * group, entry, f16(block, 0) * (2 * ((rest >> 12) & 7) + 1), rest >= 0x8000, out)
    }
  },
  iq1_m: (block, out) => {
    const words = [0, 1, 2, 3].map((i) => block.getUint16(48 + 2 * i, true))
    const scale = new DataView(new ArrayBuffer(2))
    scale.setUint16(0, words.reduce((bits, word, i) => bits | ((word >> 12) << (4 * i)), 0), true)
    for (let group = 0; group < 32; group++) {
      const high = (block.getUint8(32 + (group >> 1)) >> (4 * (group & 1))) & 15
      const entry = block.getUint8(group) + 256 * (high & 7)
      const subScale = (words[group >> 3]! >> (3 * ((group >> 1) & 3))) & 7
      iq1Group(8 * group, entry, f16(scale, 0) * (2 * subScale + 1), high >= 8, out)
    }
  },
  iq2_xxs: (block, out) => {
    for (let i = 0; i < 256; i++) {
      const at = 2 + 8 * (i >> 5)
      const rest = block.getUint32(at + 4, true)
      const group = (i >> 3) & 3
      const level = iq2(grids.iq2_xxs[block.getUint8(at + group)]!, i & 7)
      out(i, (f16(block, 0) * ((rest >>> 28) + 0.5) * level * signOf((rest >>> (7 * group)) & 127, i & 7)) / 4)
    }
  },
  iq2_xs: (block, out) => {
    for (let i = 0; i < 256; i++) {
      const word = block.getUint16(2 + 2 * (i >> 3), true)
      const scale = (block.getUint8(66 + (i >> 5)) >> (4 * ((i >> 4) & 1))) & 15
      out(i, (f16(block, 0) * (scale + 0.5) * iq2(grids.iq2_xs[word & 511]!, i & 7) * signOf(word >> 9, i & 7)) / 4)
    }
  },
  iq2_s: (block, out) => {
    for (let i = 0; i < 256; i++) {
      const group = i >> 3
      const entry = block.getUint8(2 + group) + 256 * ((block.getUint8(66 + (group >> 2)) >> (2 * (group & 3))) & 3)
      const scale = (block.getUint8(74 + (i >> 5)) >> (4 * ((i >> 4) & 1))) & 15
      const sign = (block.getUint8(34 + group) >> (i & 7)) & 1 ? -1 : 1
      out(i, (f16(block, 0) * (scale + 0.5) * iq2(grids.iq2_s[entry]!, i & 7) * sign) / 4)
    }
  },
  iq3_xxs: (block, out) => {
    for (let i = 0; i < 256; i++) {
      const rest = block.getUint32(66 + 4 * (i >> 5), true)
      const level = [4, 12, 20, 28, 36, 44, 52, 62][iq3(grids.iq3_xxs[block.getUint8(2 + (i >> 2))]!, i & 3)]!
      out(i, (f16(block, 0) * ((rest >>> 28) + 0.5) * level * signOf((rest >>> (7 * ((i >> 3) & 3))) & 127, i & 7)) / 2)
    }
  },
  iq3_s: (block, out) => {
    for (let i = 0; i < 256; i++) {
      const quad = i >> 2
      const entry = block.getUint8(2 + quad) + 256 * ((block.getUint8(66 + (quad >> 3)) >> (quad & 7)) & 1)
      const scale = (block.getUint8(106 + (i >> 6)) >> (4 * ((i >> 5) & 1))) & 15
      const sign = (block.getUint8(74 + (i >> 3)) >> (i & 7)) & 1 ? -1 : 1
      out(i, f16(block, 0) * (2 * scale + 1) * (2 * iq3(grids.iq3_s[entry]!, i & 3) + 1) * sign)
    }
  },
  tq1_0: (block, out) => {
    // Digit n in base 3 of byte / 256, counted after the point.
    const digit = (byte: number, n: number) => Math.floor(((byte * 3 ** n) % 256) * 3 / 256)
    for (let i = 0; i < 256; i++) {
      const [at, n] =
        i < 160 ? [i % 32, Math.floor(i / 32)] : i < 240 ? [32 + (i % 16), Math.floor((i - 160) / 16)] : [48 + (i % 4), (i - 240) >> 2]
      out(i, f16(block, 52) * (digit(block.getUint8(at), n) - 1))
    }
  },
  tq2_0: (block, out) => {
    for (let i = 0; i < 256; i++) out(i, f16(block, 64) * (twoBits(block, 0, i) - 1))
  },
  q6_k: (block, out) => {
    for (let half = 0; half < 2; half++) {
      for (let quarter = 0; quarter < 4; quarter++) {
        for (let l = 0; l < 32; l++) {
          const low = block.getUint8(64 * half + 32 * (quarter & 1) + l)
          const high = (block.getUint8(128 + 32 * half + l) >> (2 * quarter)) & 3
          const quant = ((quarter < 2 ? low & 15 : low >> 4) | (high << 4)) - 32
          const scale = block.getInt8(192 + 8 * half + 2 * quarter + (l >> 4))
          out(128 * half + 32 * quarter + l, f16(block, 208) * scale * quant)
        }
      }
    }
  },
}

/** All values of consecutive blocks. */
export function decode(type: TensorTypeName, bytes: Uint8Array): Float64Array {
  const decodeBlock = decoders[type]
  if (!decodeBlock) throw new Error(`the reference cannot read ${type}`)
  const { blockValues, blockBytes } = tensorTypes[type]
  const blocks = bytes.length / blockBytes
  const values = new Float64Array(blocks * blockValues)
  for (let b = 0; b < blocks; b++) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + b * blockBytes, blockBytes)
    decodeBlock(view, (index, value) => (values[b * blockValues + index] = value))
  }
  return values
}

export const bytesOf = (type: TensorTypeName, shape: readonly number[]) =>
  rowBytes(
    type,
    shape.reduce((a, b) => a * b, 1),
  )
