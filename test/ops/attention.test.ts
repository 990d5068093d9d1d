import { describe, expect, it } from 'vitest'
import type { GraphBuilder } from '../../src/graph/builder.js'
import { matrix } from '../reference/matrix.js'
import { expectEqual, expectReference, isas, type OpCase, runOp } from '../support/run-op.js'
import { random } from '../support/tensors.js'

interface Shape {
  readonly heads: number
  readonly kvHeads: number
  readonly headDim: number
  /** One attention per window, each with a layer of its own. Default: one over everything. */
  readonly windows?: readonly number[]
  readonly scale?: number
  readonly softcap?: number
}

function attention(rows: number, { heads, kvHeads, headDim, windows = [0], scale, softcap }: Shape, more: Partial<OpCase> = {}): OpCase {
  const made = (n: number, seed: number) => random(rows, n * headDim, seed + headDim)
  return {
    inputs: { q: made(heads, 0), k: made(kvHeads, 17), v: made(kvHeads, 34) },
    build(g: GraphBuilder) {
      const values = {
        q: g.input('q', heads * headDim),
        k: g.input('k', kvHeads * headDim),
        v: g.input('v', kvHeads * headDim),
      }
      const scaled = { ...(scale === undefined ? {} : { scale }), ...(softcap === undefined ? {} : { softcap }) }
      windows.forEach((window, layer) => {
        g.output(`window ${window}`, g.attention({ layer, ...values, headDim, window, ...scaled }))
      })
    },
    ...more,
  }
}

/**
 * How far results may be from float64 for |q|, |k|, |v| < 1: what storing a key changes in a score (|q| · √E-scaled: at most
 * √E · error), once more for the maximum, and what storing a value changes itself; the rest are f32 roundings of the sums.
 */
const stored = { f32: 0, f16: 2 ** -12, bf16: 2 ** -9, q8_0: 2 ** -8 }
const absolute = (headDim: number, kvType: keyof typeof stored = 'f32') =>
  stored[kvType] * (1 + Math.sqrt(headDim)) + 2 ** -22 * (1 + Math.sqrt(headDim))

describe('attention', () => {
  for (const headDim of [8, 16, 40, 64, 80, 128, 256]) {
    for (const [heads, kvHeads] of [[1, 1], [4, 2], [3, 1], [8, 8]] as const) {
      if (headDim > 64 && heads === 8) continue
      it(`matches float64 with ${heads} heads of ${headDim} over ${kvHeads} of the cache`, async () => {
        for (const rows of [1, 2, 67]) {
          await expectReference(attention(rows, { heads, kvHeads, headDim }), { absolute: absolute(headDim) })
        }
      })
    }
  }

  for (const kvType of ['f32', 'f16', 'bf16', 'q8_0'] as const) {
    it(`matches float64 with a cache of ${kvType}, as far as its precision goes`, async () => {
      for (const headDim of [8, 40, 64, 128]) {
        const c = attention(130, { heads: 4, kvHeads: 2, headDim, windows: [0, 70] }, { kvType, sequences: [100, 30] })
        await expectReference(c, { absolute: absolute(headDim, kvType) })
      }
    })

    it(`gives the same with a cache of ${kvType} however the tokens are cut into steps`, async () => {
      // Pages of 64 positions are written and read in parts, by sequences side by side, one of which starts late.
      const shape = { heads: 6, kvHeads: 2, headDim: 40, windows: [0, 20, 64] }
      const c = attention(230, shape, { kvType, sequences: [150, 70, 10] })
      const oneByOne = Array.from({ length: 10 }, () => [[2, 1], [0, 1]] as const)
      const steps = [[[0, 63]], [[1, 1]], [[0, 2], [1, 64]], ...oneByOne, [[1, 5], [0, 75]]] as const
      const expected = await runOp(c, 'scalar')
      for (const isa of isas) {
        const whole = await runOp(c, isa)
        expectEqual(await runOp({ ...c, steps }, isa), whole, isa)
        expectEqual(await runOp({ ...c, steps, threads: 2 }, isa), whole, isa)
        // Own functions, fixed trees: variants agree as well.
        expectEqual(whole, expected, isa)
      }
    })
  }

  it('gives the same for a long context shared out to threads, one token at a time at its end', async () => {
    const c = attention(1500, { heads: 2, kvHeads: 1, headDim: 16 }, { kvType: 'f16' })
    const steps = [[[0, 1495]], [[0, 1]], [[0, 1]], [[0, 3]]] as const
    for (const isa of isas) {
      const whole = await runOp(c, isa)
      for (const threads of [1, 2]) expectEqual(await runOp({ ...c, steps, threads }, isa), whole, isa)
    }
  })

  it('sees exactly as many positions as its window has', async () => {
    for (const window of [1, 2, 15, 63, 64, 65, 128, 200, 1000]) {
      const c = attention(300, { heads: 2, kvHeads: 1, headDim: 16, windows: [window] })
      await expectReference(c, { absolute: absolute(16) })
      // What lies behind the window is given back while the steps go on.
      const steps = Array.from({ length: 6 }, () => [[0, 50]] as const)
      for (const isa of isas) expectEqual(await runOp({ ...c, steps }, isa), await runOp(c, isa), `${window} on ${isa}`)
    }
  })

  it('multiplies scores by its scale', async () => {
    const c = attention(20, { heads: 2, kvHeads: 2, headDim: 16, scale: 3 })
    await expectReference(c, { absolute: 12 * absolute(16) })
  })

  it('caps scores, however the tokens are cut into steps', async () => {
    const shape = { heads: 4, kvHeads: 2, headDim: 40, windows: [0, 20], scale: 2, softcap: 1.5 }
    for (const kvType of ['f32', 'q8_0'] as const) {
      const c = attention(150, shape, { kvType, sequences: [100, 50] })
      await expectReference(c, { absolute: 13 * absolute(40, kvType) })
      const steps = [[[0, 63]], [[1, 1]], [[0, 2], [1, 49]], [[0, 35]]] as const
      for (const isa of isas) expectEqual(await runOp({ ...c, steps, threads: 2 }, isa), await runOp(c, isa), isa)
    }
    // The cap changes the result by more than the tolerance.
    const capped = await runOp(attention(20, shape), isas[0]!)
    const plain = await runOp(attention(20, { ...shape, softcap: 0 }), isas[0]!)
    expect(capped['window 0']!.data.some((value, i) => Math.abs(value - plain['window 0']!.data[i]!) > 0.1)).toBe(true)
  })

  it('stays exact for scores far apart and for equal ones', async () => {
    const shape = { heads: 1, kvHeads: 1, headDim: 8, scale: 1 }
    const steep = attention(140, shape)
    for (const k of [matrix(140, 8, (t) => t - 70), matrix(140, 8, (t) => 100 - t), matrix(140, 8)]) {
      const c = { ...steep, inputs: { ...steep.inputs, q: matrix(140, 8, () => 2), k } }
      await expectReference(c, { absolute: 2 ** -20 })
    }
  })

  it('keeps a NaN in the rows that read it', async () => {
    const shape = { heads: 4, kvHeads: 2, headDim: 40, windows: [8] }
    for (const kvType of ['f32', 'f16', 'bf16', 'q8_0'] as const) {
      for (const name of ['q', 'k', 'v'] as const) {
        const clean = attention(150, shape, { kvType, sequences: [90, 60] })
        const x = clean.inputs![name]!
        // Row 70 of the first sequence; the first element, so head 0 of q, and heads 0 and 1 by way of the cache.
        const data = x.data.with(70 * x.width, NaN)
        const dirty = { ...clean, inputs: { ...clean.inputs, [name]: { ...x, data } } }
        for (const isa of isas) {
          const expected = (await runOp(clean, isa))['window 8']!
          const found = (await runOp(dirty, isa))['window 8']!
          let nans = 0
          found.data.forEach((value, i) => {
            const [row, head] = [Math.floor(i / 160), Math.floor((i % 160) / 40)]
            const reads = name === 'q' ? row === 70 && head === 0 : row >= 70 && row < 78 && head < 2
            nans += +Number.isNaN(value)
            if (!reads && value !== expected.data[i]) expect.fail(`${isa} ${kvType} ${name}: [${row}, ${i % 160}] is ${value}`)
          })
          expect(nans, `${isa} ${kvType} ${name}`).toBeGreaterThan(0)
        }
      }
    }
  })

  it('computes nothing for a step without tokens', async () => {
    for (const isa of isas) {
      const c = attention(5, { heads: 2, kvHeads: 1, headDim: 8 })
      expectEqual(await runOp({ ...c, steps: [[[0, 0]], [[0, 5]]] }, isa), await runOp(c, isa), isa)
    }
  })
})
