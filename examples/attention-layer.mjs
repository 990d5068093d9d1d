// The attention layer of a transformer by hand: norm, projections, rotary positions, grouped heads, residual.
import { Tensor } from 'infernode'

const [tokens, dim, nHeads, nKvHeads, headDim] = [6, 64, 4, 2, 16]
const weight = (rows, columns, seed) => Tensor.randomNormal([rows, columns], { seed, deviation: columns ** -0.5 })
const norm = Tensor.full([dim], 1)
const wq = weight(nHeads * headDim, dim, 1)
const wk = weight(nKvHeads * headDim, dim, 2)
const wv = weight(nKvHeads * headDim, dim, 3)
const wo = weight(dim, nHeads * headDim, 4)

async function attentionLayer(x) {
  const h = await x.rmsNorm(norm)
  const project = async (w, heads) => (await h.matmul(w, { transposeB: true })).reshape([tokens, heads, headDim])
  const q = await (await project(wq, nHeads)).rope()
  const k = await (await project(wk, nKvHeads)).rope()
  const v = await project(wv, nKvHeads)
  const attended = await q.attention(k, v) // causal
  const out = await attended.reshape([tokens, nHeads * headDim]).matmul(wo, { transposeB: true })
  return x.add(out)
}

const x = Tensor.randomNormal([tokens, dim], { seed: 5 })
const y = await attentionLayer(x)
console.log(y)

// Nothing that comes later changes an earlier token: the layer is causal.
const changed = await x.mul(Tensor.from([[1], [1], [1], [1], [1], [2]]))
const difference = await (await (await attentionLayer(changed)).sub(y)).abs()
console.log('largest change per token', await difference.max(1))
