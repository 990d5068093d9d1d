/** Normalizations in float64. */
import { matrix, type Matrix } from './matrix.js'

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
