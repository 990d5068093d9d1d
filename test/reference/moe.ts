/** Mixtures of experts in float64. */
import { silu } from './elementwise.js'
import { linear } from './matmul.js'
import { matrix, type Matrix, row } from './matrix.js'

/** [T, 2·active]: the best experts, best first, and their weights. Of equal scores the lower number is better. */
export function route(scores: Matrix, active: number, gating: string): Matrix {
  const rows = Array.from({ length: scores.rows }, (_, t) => {
    const x = row(scores, t)
    const chosen = [...x.keys()].sort((a, b) => x[b]! - x[a]! || a - b).slice(0, active)
    const power = (e: number) => Math.exp(x[e]! - x[chosen[0]!]!)
    const all = gating === 'softmax' ? [...x.keys()] : chosen
    const sum = all.reduce((total, e) => total + power(e), 0)
    return [...chosen, ...chosen.map((e) => power(e) / sum)]
  })
  return matrix(scores.rows, 2 * active, (t, c) => rows[t]![c]!)
}

/** `of(e)`: an expert's matrix. */
export type Stack = (e: number) => Matrix

const expertOf = (routing: Matrix, t: number, r: number) => routing.data[t * routing.width + r]!
const oneRow = (x: Matrix, t: number, from = 0, n = x.width): Matrix => ({ rows: 1, width: n, data: row(x, t).slice(from, from + n) })

/** [T, active·F] */
export function expertsSwiglu(x: Matrix, routing: Matrix, gate: Stack, up: Stack): Matrix {
  const active = routing.width / 2
  const ffnDim = gate(0).rows
  const out = matrix(x.rows, active * ffnDim)
  for (let t = 0; t < x.rows; t++)
    for (let r = 0; r < active; r++) {
      const e = expertOf(routing, t, r)
      const gated = silu(linear(oneRow(x, t), gate(e)))
      const upper = linear(oneRow(x, t), up(e))
      out.data.set(gated.data.map((value, i) => value * upper.data[i]!), t * out.width + r * ffnDim)
    }
  return out
}

/** [T, D] */
export function expertsSum(x: Matrix, routing: Matrix, down: Stack): Matrix {
  const active = routing.width / 2
  const out = matrix(x.rows, down(0).rows)
  for (let t = 0; t < x.rows; t++)
    for (let r = 0; r < active; r++) {
      const [e, weight] = [expertOf(routing, t, r), routing.data[t * routing.width + active + r]!]
      const product = linear(oneRow(x, t, (r * x.width) / active, x.width / active), down(e))
      product.data.forEach((value, d) => (out.data[t * out.width + d]! += weight * value))
    }
  return out
}
