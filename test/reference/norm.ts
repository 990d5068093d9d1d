/** Normalizations in float64. */
import { matrix, type Matrix, row } from './matrix.js'

/** Over whole rows. */
export function layerNorm(x: Matrix, weight: Float64Array, bias: Float64Array | null, eps: number): Matrix {
  const n = x.width
  const scales = Array.from({ length: x.rows }, (_, t) => {
    const values = [...row(x, t)]
    const mean = values.reduce((a, b) => a + b, 0) / n
    const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / n
    return { mean, scale: 1 / Math.sqrt(variance + eps) }
  })
  return matrix(x.rows, n, (t, d) => {
    const { mean, scale } = scales[t]!
    return (x.data[t * n + d]! - mean) * scale * weight[d]! + (bias?.[d] ?? 0)
  })
}

/** Over each group of weight.length values of a row. */
export function rmsNorm(x: Matrix, weight: Float64Array, eps: number): Matrix {
  const n = weight.length
  return matrix(x.rows, x.width, (t, d) => {
    const start = t * x.width + Math.floor(d / n) * n
    let squares = 0
    for (let i = start; i < start + n; i++) squares += x.data[i]! ** 2
    return (x.data[t * x.width + d]! / Math.sqrt(squares / n + eps)) * weight[d % n]!
  })
}
