/** Products, attention and layers against float64. */
import { describe, expect, it } from 'vitest'
import { Tensor } from '../../src/tensor.js'
import { encodableTypes } from '../../src/quantize/encode.js'
import { tensorTypes } from '../../src/tensor-types.js'
import { at, expectNear, fill, onEveryIsa, type Plain, random, read, tensorOf } from './support.js'

function matmul(a: Plain, b: Plain): Plain {
  const [m, k] = a.shape.slice(-2) as [number, number]
  const n = b.shape.at(-1)!
  const front = a.shape.length >= b.shape.length ? a.shape.slice(0, -2) : b.shape.slice(0, -2)
  return fill([...front, m, n], (i) => {
    let sum = 0
    for (let j = 0; j < k; j++) sum += at(a, [...i.slice(0, -1), j]) * at(b, [...i.slice(0, -2), j, i.at(-1)!])
    return sum
  })
}

function attention(
  q: Plain,
  k: Plain,
  v: Plain,
  visible: (at: number[], key: number) => boolean,
  length = (_: number): number => k.shape[1]!,
): Plain {
  const [nb, nt, h, e] = q.shape as [number, number, number, number]
  const [, s, nKv] = k.shape as [number, number, number]
  const out = fill(q.shape, () => 0)
  for (let row = 0; row < nb * nt * h; row++) {
    const [b, t, head] = [Math.floor(row / h / nt), Math.floor(row / h) % nt, row % h]
    const kv = (key: number): number => ((b * s + key) * nKv + Math.floor((head * nKv) / h)) * e
    const scores = Array.from({ length: length(b) }, (_, key) => {
      let dot = 0
      for (let i = 0; i < e; i++) dot += q.data[row * e + i]! * k.data[kv(key) + i]!
      return visible([b, t, head], key) ? dot / Math.sqrt(e) : -Infinity
    })
    const largest = Math.max(...scores)
    if (largest === -Infinity) continue
    const weights = scores.map((score) => Math.exp(score - largest))
    const total = weights.reduce((sum, w) => sum + w, 0)
    weights.forEach((w, key) => {
      for (let i = 0; w > 0 && i < e; i++) out.data[row * e + i]! += (w / total) * v.data[kv(key) + i]!
    })
  }
  return out
}

onEveryIsa(() => {
  describe('matmul', () => {
    it('fits float64 for awkward sizes, also of views', async () => {
      for (const [m, k, n] of [
        [1, 1, 1],
        [2, 3, 4],
        [1, 64, 33],
        [17, 65, 31],
        [33, 100, 65],
        [5, 0, 3],
        [0, 4, 2],
        [520, 7, 9],
      ] as const) {
        const [a, b] = [random([m, k], m + k), random([k, n], k + n)]
        const expected = matmul(a, b)
        const tolerance = { absolute: 4 * (k + 1) * 2 ** -23 }
        const [x, y] = [tensorOf(a), tensorOf(b)]
        expectNear(await read(await x.matmul(y)), expected, tolerance, `${m} ${k} ${n}`)
        expectNear(await read(await x.matmul(await y.transpose().contiguous(), { transposeB: true })), expected, tolerance)
        expectNear(await read(await x.matmul(y.transpose(), { transposeB: true })), expected, tolerance)
        expectNear(await read(await (await x.transpose().contiguous()).transpose().matmul(y)), expected, tolerance)
      }
    })

    it('batches broadcast', async () => {
      const cases = [
        [
          [3, 2, 5],
          [3, 5, 4],
        ],
        [
          [3, 2, 5],
          [5, 4],
        ],
        [
          [2, 5],
          [3, 5, 4],
        ],
        [
          [2, 1, 3, 4],
          [5, 4, 2],
        ],
      ] as const
      for (const [left, right] of cases) {
        const [a, b] = [random(left, 1), random(right, 2)]
        const front = left.length === 4 ? [2, 5] : [3]
        const expected = matmul({ ...a, shape: left }, b)
        const found = await read(await (tensorOf(a) as Tensor<'f32'>).matmul(tensorOf(b) as Tensor<'f32'>))
        expect(found.shape.slice(0, -2)).toEqual(front)
        if (left.length < 4) expectNear(found, expected, { absolute: 1e-5 })
        else
          expectNear(
            found,
            fill(found.shape, (i) => {
              let s = 0
              for (let j = 0; j < 4; j++) s += at(a, [i[0]!, 0, i[2]!, j]) * at(b, [i[1]!, j, i[3]!])
              return s
            }),
            { absolute: 1e-5 },
          )
      }
    })

    it('multiplies with f16, bf16 and every type that can be encoded, as with their values', async () => {
      for (const type of encodableTypes()) {
        const k = 2 * Math.max(32, tensorTypes[type].blockValues)
        const b = tensorOf(random([35, k], 7))
        const weights = (
          type === 'f32' ? b : type === 'f16' || type === 'bf16' ? await b.cast(type) : await b.quantize(type as 'q8_0')
        ) as Tensor
        const decoded = await read(await weights.dequantize())
        for (const m of [1, 5, 20]) {
          const a = random([m, k], m)
          const found = await read(await tensorOf(a).matmul(weights, { transposeB: true }))
          // int8 activations are off by half a 127th of their block's largest, here 2, for each of k products of up to about 2.
          // bf16 beside bf16 pairs are off by 2^-9 of theirs.
          const exact = tensorTypes[type].activations === 'f32'
          const rounding = Math.sqrt(k) * 2 * 2.5 * (type === 'bf16' ? 2 ** -9 : exact ? 2 ** -16 : 1 / 127)
          expectNear(
            found,
            matmul(
              a,
              fill([k, 35], ([i, j]) => at(decoded, [j!, i!])),
            ),
            { absolute: rounding },
            `${type} ${m}`,
          )
        }
      }
    })

    it('int8 products are exact, whatever the signs, scales and zero points', async () => {
      for (const [m, k, n] of [
        [1, 1, 1],
        [3, 17, 9],
        [33, 130, 70],
        [2, 0, 2],
      ] as const)
        for (const [left, right] of [
          ['i8', 'i8'],
          ['u8', 'i8'],
          ['u8', 'u8'],
        ] as const) {
          const make = (type: 'i8' | 'u8', size: number, seed: number) =>
            Array.from(random([size], seed).data, (v) => Math.floor(v * 64) + (type === 'u8' ? 128 : 0))
          const [a, b] = [make(left, m * k, 1), make(right, n * k, 2)]
          const zeroB = Array.from({ length: n }, (_, j) => j - 3)
          const tensor = (type: 'i8' | 'u8', v: number[], rows: number) =>
            (type === 'i8'
              ? Tensor.copyOf(Int8Array.from(v), [rows, k])
              : Tensor.copyOf(Uint8Array.from(v), [rows, k])) as Tensor<'i8'>
          const expected = fill([m, n], ([i, j]) => {
            let sum = 0
            for (let p = 0; p < k; p++) sum += (a[i! * k + p]! - 5) * (b[j! * k + p]! - zeroB[j!]!)
            return sum
          })
          const sums = await tensor(left, a, m).int8Matmul(tensor(right, b, n), { zeroA: 5, zeroB })
          expectNear(await read(sums), expected, {})
          const scaleB = Float32Array.from(zeroB, (z) => 0.01 * (z + 4))
          const scaled = await tensor(left, a, m).int8Matmul(tensor(right, b, n), { zeroA: 5, zeroB, scaleA: 0.5, scaleB })
          expectNear(
            await read(scaled),
            fill([m, n], (i) => at(expected, i) * 0.5 * scaleB[i[1]!]!),
            { relative: 2 ** -21 },
          )
        }
    })
  })

  describe('attention', () => {
    const [b, t, s, h, kv] = [2, 5, 150, 6, 2]
    for (const e of [1, 16, 33]) {
      const [q, k, v] = [random([b, t, h, e], 1), random([b, s, kv, e], 2), random([b, s, kv, e], 3)]
      const tensors = [q, k, v].map(tensorOf) as [Tensor<'f32'>, Tensor<'f32'>, Tensor<'f32'>]
      const near = { absolute: 2e-5 }
      const position = (i: number, length = s): number => i + length - t
      it(`causal, windowed, full and masked, with shared heads of ${e}`, async () => {
        const [x, y, z] = tensors
        expectNear(
          await read(await x.attention(y, z)),
          attention(q, k, v, ([, i], j) => j <= position(i!)),
          near,
          'causal',
        )
        expectNear(
          await read(await x.attention(y, z, { window: 70 })),
          attention(q, k, v, ([, i], j) => j <= position(i!) && j > position(i!) - 70),
          near,
          'window',
        )
        expectNear(
          await read(await x.attention(y, z, { causal: false })),
          attention(q, k, v, () => true),
          near,
          'full',
        )
        const mask = fill([t, s], ([i, j]) => Number((i! * 31 + j! * 17) % 3 > 0 && i! !== 2))
        const bool = await tensorOf(mask).cast('bool')
        const masked = attention(q, k, v, ([, i], j) => at(mask, [i!, j]) === 1)
        expectNear(await read(await x.attention(y, z, { causal: false, mask: bool })), masked, near, 'mask')
        const added = tensorOf(fill([t, s], (i) => (at(mask, i) ? 0 : -Infinity)))
        expectNear(await read(await x.attention(y, z, { causal: false, mask: added })), masked, near, 'added mask')
        const lengths = [150, 67]
        const short = attention(
          q,
          k,
          v,
          ([bb, i], j) => j <= position(i!, lengths[bb!]!),
          (bb) => lengths[bb]!,
        )
        expectNear(await read(await x.attention(y, z, { lengths })), short, near, 'lengths')
        const both = await x.attention(y, z, { lengths, mask: Tensor.full([1], 1, { dtype: 'bool' }) as Tensor<'bool'> })
        expectNear(await read(both), short, near, 'lengths and mask')
      })
    }
  })

  describe('layers', () => {
    it('softmax sums to one along any axis', async () => {
      const x = random([3, 67, 5], 1)
      for (const axis of [0, 1, 2, -1]) {
        const d = axis < 0 ? 2 : axis
        const expected = fill(x.shape, (i) => {
          let sum = 0
          for (let j = 0; j < x.shape[d]!; j++) sum += Math.exp(at(x, i.with(d, j)))
          return Math.exp(at(x, i)) / sum
        })
        expectNear(await read(await tensorOf(x).softmax(axis)), expected, { relative: 2e-6 })
      }
    })

    it('norms fit float64', async () => {
      for (const n of [1, 15, 64, 67, 1000]) {
        const [x, w, c] = [random([3, n], n), random([n], 2), random([n], 3)]
        const mean = (row: number, f: (v: number) => number): number =>
          Array.from({ length: n }, (_, j) => f(at(x, [row, j]))).reduce((p, v) => p + v, 0) / n
        const rms = fill(x.shape, ([i, j]) => (at(x, [i!, j!]) / Math.sqrt(mean(i!, (v) => v * v) + 1e-5)) * w.data[j!]!)
        expectNear(await read(await tensorOf(x).rmsNorm(tensorOf(w))), rms, { relative: 1e-5 })
        const layer = fill(x.shape, ([i, j]) => {
          const m = mean(i!, (v) => v)
          return ((at(x, [i!, j!]) - m) / Math.sqrt(mean(i!, (v) => (v - m) ** 2) + 1e-5)) * w.data[j!]! + c.data[j!]!
        })
        expectNear(await read(await tensorOf(x).layerNorm(tensorOf(w), tensorOf(c))), layer, { relative: 1e-5, absolute: 1e-5 })
      }
    })

    it('rope turns pairs by position', async () => {
      const x = random([2, 4, 3, 10], 1)
      for (const pairing of ['half', 'interleaved'] as const) {
        const expected = fill(x.shape, ([b, t, h, e]) => {
          if (e! >= 8) return at(x, [b!, t!, h!, e!])
          const i = pairing === 'half' ? e! % 4 : e! >> 1
          const [first, second] = pairing === 'half' ? [i, i + 4] : [2 * i, 2 * i + 1]
          const angle = (t! + 9) * 10000 ** ((-2 * i) / 8)
          const [p, r] = [at(x, [b!, t!, h!, first]), at(x, [b!, t!, h!, second])]
          return e === first ? p * Math.cos(angle) - r * Math.sin(angle) : r * Math.cos(angle) + p * Math.sin(angle)
        })
        expectNear(await read(await tensorOf(x).rope({ start: 9, dims: 8, pairing })), expected, { absolute: 2e-6 })
        const positions = Tensor.from([9, 10, 11, 12], { dtype: 'i32' })
        expectNear(await read(await tensorOf(x).rope({ positions, dims: 8, pairing })), expected, { absolute: 2e-6 })
      }
    })

    it('embedding looks rows up, in floats and in blocks', async () => {
      const table = tensorOf(random([7, 64], 1))
      const ids = Tensor.from(
        [
          [6, 0],
          [3, 3],
        ],
        { dtype: 'i32' },
      )
      const quantized = await table.quantize('q8_0')
      const decoded = await read(await quantized.dequantize())
      expectNear(
        await read(await quantized.embedding(ids)),
        fill([2, 2, 64], ([i, j, d]) => at(decoded, [[6, 0, 3, 3][i! * 2 + j!]!, d!])),
        {},
      )
      await expect(table.embedding(Tensor.from([7], { dtype: 'i32' }))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    })
  })
})
