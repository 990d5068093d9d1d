/** linear in float64. */
import { matrix, type Matrix, row } from './matrix.js'

/** x [T, in] · weight [out, in]ᵀ + bias [out] */
export function linear(x: Matrix, weight: Matrix, bias?: Float64Array): Matrix {
  return matrix(x.rows, weight.rows, (t, o) => {
    const a = row(x, t)
    const w = row(weight, o)
    let sum = 0
    for (let i = 0; i < a.length; i++) sum += a[i]! * w[i]!
    return sum + (bias?.[o] ?? 0)
  })
}
