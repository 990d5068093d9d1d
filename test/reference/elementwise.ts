/** Elementwise ops in float64. */
import { map, type Matrix } from './matrix.js'

export const siluOf = (x: number) => x / (1 + Math.exp(-x))
export const geluTanhOf = (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))

export const add = (a: Matrix, b: Matrix) => map(a, (value, i) => value + b.data[i]!)
export const mul = (a: Matrix, b: Matrix) => map(a, (value, i) => value * b.data[i]!)
export const silu = (x: Matrix) => map(x, siluOf)
export const geluTanh = (x: Matrix) => map(x, geluTanhOf)
export const scale = (x: Matrix, factor: number) => map(x, (value) => value * factor)
export const swiglu = (gate: Matrix, up: Matrix) => mul(silu(gate), up)
export const geglu = (gate: Matrix, up: Matrix) => mul(geluTanh(gate), up)
