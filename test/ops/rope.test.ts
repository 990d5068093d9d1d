import { describe, expect, it } from 'vitest'
import type { GraphBuilder, Rope } from '../../src/graph/builder.js'
import { matrix } from '../reference/matrix.js'
import { expectEqual, expectReference, isas, runOp } from '../support/run-op.js'
import { random } from '../support/tensors.js'

const ropeOf = (headDim: number, pairs: number, pairing: Rope['pairing'], scale = 1): Rope => ({
  name: 'rope',
  frequencies: Array.from({ length: pairs }, (_, i) => 10000 ** (-i / pairs)),
  scale,
  pairing,
  headDim,
})

const build = (width: number, rope: Rope, inPlace = false) => (g: GraphBuilder) => {
  const x = g.input('x', width)
  g.output('out', g.rope(inPlace ? g.scale(x, 1) : x, rope))
}

// cos and sin are rounded once; two products and a sum of values below 1, times the table's scale.
const absolute = 2 ** -22

describe('rope', () => {
  for (const pairing of ['half', 'interleaved'] as const) {
    it(`rotates whole heads and parts of them, pairing ${pairing}`, async () => {
      const whole = [2, 6, 8, 16, 18, 34, 40, 64, 128, 256].map((headDim) => [headDim, headDim / 2] as const)
      const parts = [[8, 3], [16, 4], [64, 9], [67, 33], [128, 16]] as const
      for (const [headDim, pairs] of [...whole, ...parts]) {
        for (const heads of [1, 3]) {
          const inputs = { x: random(5, headDim * heads, headDim) }
          await expectReference({ inputs, build: build(headDim * heads, ropeOf(headDim, pairs, pairing)) }, { absolute })
        }
      }
    })

    it(`gives the same in place and cut into steps, pairing ${pairing}`, async () => {
      const rope = ropeOf(40, 17, pairing)
      const c = { inputs: { x: random(70, 80, 1) }, sequences: [50, 20], build: build(80, rope) }
      const steps = [[[0, 33]], [[1, 1], [0, 1]], [[0, 16], [1, 19]]] as const
      for (const isa of isas) {
        const expected = await runOp(c, isa)
        expectEqual(await runOp({ ...c, build: build(80, rope, true) }, isa), expected, isa)
        expectEqual(await runOp({ ...c, steps, threads: 2 }, isa), expected, isa)
      }
      await expectReference({ ...c, steps }, { absolute })
    })
  }

  it('knows every position, and scales its table', async () => {
    const inputs = { x: matrix(2000, 8, () => 1) }
    await expectReference({ inputs, build: build(8, ropeOf(8, 4, 'half', 1.25)) }, { absolute: 2 * absolute })
  })

  it('keeps a NaN in its pair', async () => {
    const x = matrix(2, 24, (t, d) => (t === 1 && d === 9 ? NaN : 1))
    for (const isa of isas) {
      const { data } = (await runOp({ inputs: { x }, build: build(24, ropeOf(8, 4, 'half')) }, isa)).out!
      // Head 1 is 8 … 15, and 9 belongs to 13.
      expect([...data.keys()].filter((i) => Number.isNaN(data[i])), isa).toEqual([24 + 9, 24 + 13])
    }
  })
})
