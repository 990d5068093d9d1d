import { describe, expect, it } from 'vitest'
import { fma, quantizeRow } from './contract.js'
import { randomNumbers } from '../support/tensors.js'

/** An f32 value as an integer times 2^-149 · 2^-149, and back with one rounding to nearest even. */
const unit = 298
const bits = new DataView(new ArrayBuffer(4))
function exact(value: number): bigint {
  bits.setFloat32(0, value)
  const word = bits.getUint32(0)
  const exponent = (word >> 23) & 255
  const fraction = BigInt((word & 0x7fffff) | (exponent ? 0x800000 : 0))
  return (word >> 31 ? -fraction : fraction) << BigInt(Math.max(exponent, 1) - 1)
}
function rounded(value: bigint): number {
  const magnitude = value < 0n ? -value : value
  const length = magnitude.toString(2).length
  // The last bit that f32 keeps: 24 bits, or less where they end at 2^-149.
  const last = BigInt(Math.max(length - 24, unit - 149))
  const kept = magnitude >> last
  const rest = magnitude - (kept << last)
  const half = 1n << (last - 1n)
  const up = rest > half || (rest === half && kept % 2n === 1n)
  const result = Number(kept + (up ? 1n : 0n)) * 2 ** (Number(last) - unit)
  return Math.fround(value < 0n ? -result : result)
}

describe('the contract in TypeScript', () => {
  it('has an FMA that rounds once, ties and subnormal results too', () => {
    const next = randomNumbers(1)
    const float = (exponents: number) => {
      bits.setUint32(0, Math.floor(2 * next()) * 2 ** 31 + Math.floor((127 - exponents + 2 * exponents * next()) * 2 ** 23))
      // Few bits make ties and exact cancellation likely.
      const few = next() < 0.5
      if (few) bits.setUint32(0, bits.getUint32(0) & 0xffff0000)
      return bits.getFloat32(0)
    }
    for (const exponents of [2, 14, 62, 74]) {
      for (let i = 0; i < 4000; i++) {
        const a = float(exponents)
        const b = float(exponents)
        const product = Math.fround(a * b)
        const c = i % 3 === 0 ? -product : i % 3 === 1 ? product * 2 ** Math.floor(50 * next() - 25) : float(exponents)
        const cf = Math.fround(c)
        const sum = exact(a) * exact(b) + (exact(cf) << 149n)
        if (Number.isFinite(cf) && sum !== 0n) expect(fma(a, b, cf), `${a} · ${b} + ${cf}`).toBe(rounded(sum))
      }
    }
    // 1 + 2^-24 is a tie in f32; what float64 cannot hold beside it decides.
    const [up, down, tie] = [1 + 2 ** -23, 1 - 2 ** -23, 2 ** -24]
    expect(fma(up, down, tie)).toBe(rounded(exact(up) * exact(down) + (exact(tie) << 149n)))
    expect(fma(2 ** -60, 2 ** -60, 1 + 2 ** -23)).toBe(1 + 2 ** -23)
  })

  it('quantizes to 127 levels, half to even, and marks blocks that are not finite', () => {
    const x = new Float64Array(128)
    x.set([127, 0.5, 1.5, -0.5, -2.5, -127])
    x[32 + 3] = NaN
    x[64 + 3] = 2 ** -126
    x[96 + 3] = -(2 ** -100)
    const { values, scales } = quantizeRow(x, 32)
    expect([...values.subarray(0, 6)]).toEqual([127, 0, 2, 0, -2, -127])
    expect([...scales]).toEqual([1, NaN, 0, Math.fround(2 ** -100 / 127)])
    expect([values[35], values[67], values[99]]).toEqual([0, 0, -127])
  })
})
