/** Causal attention over a whole sequence in float64: no cache, no chunks. */
import { softcapOf } from './elementwise.js'
import { matrix, type Matrix } from './matrix.js'

export interface AttentionShape {
  readonly headDim: number
  readonly scale: number
  /** 0: all positions. */
  readonly window: number
  /** 0: none. */
  readonly softcap: number
}

/** q [T, H·E], k and v [T, K·E], row t at position t. */
export function attention(q: Matrix, k: Matrix, v: Matrix, { headDim, scale, window, softcap }: AttentionShape): Matrix {
  const shared = q.width / k.width
  const out = matrix(q.rows, q.width)
  for (let t = 0; t < q.rows; t++) {
    for (let head = 0; head < q.width / headDim; head++) {
      const qAt = t * q.width + head * headDim
      const kvHead = Math.floor(head / shared) * headDim
      const first = window > 0 ? Math.max(0, t - window + 1) : 0
      const scores: number[] = []
      for (let s = first; s <= t; s++) {
        let dot = 0
        for (let e = 0; e < headDim; e++) dot += q.data[qAt + e]! * k.data[s * k.width + kvHead + e]!
        scores.push(softcap > 0 ? softcapOf(scale * dot, softcap) : scale * dot)
      }
      const most = Math.max(...scores)
      const weights = scores.map((score) => Math.exp(score - most))
      const total = weights.reduce((a, b) => a + b, 0)
      weights.forEach((weight, i) => {
        for (let e = 0; e < headDim; e++) {
          out.data[qAt + e]! += (weight / total) * v.data[(first + i) * v.width + kvHead + e]!
        }
      })
    }
  }
  return out
}
