/** Rotary positions in float64. */
import { matrix, type Matrix } from './matrix.js'

export function ropeTable(positions: readonly number[], frequencies: Float64Array, scale: number): Matrix {
  const n = frequencies.length
  return matrix(positions.length, 2 * n, (t, i) => {
    const angle = positions[t]! * frequencies[i % n]!
    return scale * (i < n ? Math.cos(angle) : Math.sin(angle))
  })
}

export function rope(x: Matrix, table: Matrix, headDim: number, pairing: string): Matrix {
  const n = table.width / 2
  const at = (t: number, d: number) => x.data[t * x.width + d]!
  return matrix(x.rows, x.width, (t, d) => {
    const head = Math.floor(d / headDim) * headDim
    const i = d - head
    if (i >= 2 * n) return at(t, d)
    const [pair, second] = pairing === 'half' ? [i % n, i >= n] : [i >> 1, i % 2 === 1]
    const other = head + (pairing === 'half' ? (second ? i - n : i + n) : second ? i - 1 : i + 1)
    const cos = table.data[t * table.width + pair]!
    const sin = table.data[t * table.width + n + pair]!
    return second ? at(t, d) * cos + at(t, other) * sin : at(t, d) * cos - at(t, other) * sin
  })
}
