/** Elementwise ops in float64. */
import { map, type Matrix } from './matrix.js'

export const siluOf = (x: number) => x / (1 + Math.exp(-x))
export const geluTanhOf = (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))

/** erf by its series where that converges fast, else by the continued fraction of erfc; within 1e-14. */
export function erfOf(x: number): number {
  if (Math.abs(x) < 2.5) {
    let sum = 0
    for (let n = 0, term = x; n < 80; n++, term *= (-x * x) / n) sum += term / (2 * n + 1)
    return (2 / Math.sqrt(Math.PI)) * sum
  }
  return Math.sign(x) * (1 - erfcOf(Math.abs(x)))
}

/** 1 − erf(x) for x ≥ 2.5, without the cancellation. */
function erfcOf(x: number): number {
  let fraction = 0
  for (let k = 120; k > 0; k--) fraction = k / 2 / (x + fraction)
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / (x + fraction)
}

/** x · Φ(x); the tail of negative x is computed as such. */
export function geluOf(x: number): number {
  const z = x / Math.SQRT2
  return z < -2.5 ? 0.5 * x * erfcOf(-z) : 0.5 * x * (1 + erfOf(z))
}

export const softcapOf = (x: number, cap: number) => cap * Math.tanh(x / cap)

export const add = (a: Matrix, b: Matrix) => map(a, (value, i) => value + b.data[i]!)
export const mul = (a: Matrix, b: Matrix) => map(a, (value, i) => value * b.data[i]!)
export const silu = (x: Matrix) => map(x, siluOf)
export const geluTanh = (x: Matrix) => map(x, geluTanhOf)
export const gelu = (x: Matrix) => map(x, geluOf)
export const softcap = (x: Matrix, cap: number) => map(x, (value) => softcapOf(value, cap))
export const scale = (x: Matrix, factor: number) => map(x, (value) => value * factor)
export const swiglu = (gate: Matrix, up: Matrix) => mul(silu(gate), up)
export const geglu = (gate: Matrix, up: Matrix) => mul(geluTanh(gate), up)
