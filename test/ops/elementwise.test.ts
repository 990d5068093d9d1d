import { describe, expect, it } from 'vitest'
import type { GraphBuilder, Value } from '../../src/graph/builder.js'
import { matrix } from '../reference/matrix.js'
import { compileOp, expectClose, expectReference, isas, referenceOf, runOp } from '../support/run-op.js'
import { random } from '../support/tensors.js'

// Every number of lanes less one, exactly, and more by one; rows that are no multiple of what a work item takes.
const widths = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 67, 257]
const rowsOf = (width: number) => (width === 257 ? [1, 3, 70] : [3])

type Build = (g: GraphBuilder, a: Value, b: Value) => Value

/** f32 ops that round once, and those that round a few times on the way: exp within 1 ulp, a sum, a quotient, a product. */
const once = { relative: 2 ** -24 }
const ops: Record<string, { build: Build; relative: number }> = {
  add: { build: (g, a, b) => g.add(a, b), ...once },
  mul: { build: (g, a, b) => g.mul(a, b), ...once },
  scale: { build: (g, a) => g.scale(a, 0.3), ...once },
  silu: { build: (g, a) => g.silu(a), relative: 2 ** -21 },
  // The cubic argument of the exponential rounds at up to 2^-22 · |2u|, and |2u| ≤ 35 here.
  geluTanh: { build: (g, a) => g.geluTanh(a), relative: 2 ** -17 },
  // The tail within 5 ulp, half an ulp each of 1 − tail and of the product.
  gelu: { build: (g, a) => g.gelu(a), relative: 2 ** -20 },
  // A quotient, tanh within 2 ulp and a product: 3 ulp are at most 6 · 2^-24.
  softcap: { build: (g, a) => g.softcap(a, 2.5), relative: 6 * 2 ** -24 },
  swiglu: { build: (g, a, b) => g.swiglu(a, b), relative: 2 ** -21 },
  geglu: { build: (g, a, b) => g.geglu(a, b), relative: 2 ** -17 },
}

const scaled = (rows: number, width: number, seed: number) => {
  const x = random(rows, width, seed)
  return { ...x, data: x.data.map((value) => Math.fround(6 * value)) }
}

describe('elementwise ops', () => {
  for (const [name, { build, relative }] of Object.entries(ops)) {
    it(`${name} matches float64 at every width`, async () => {
      for (const width of widths) {
        for (const rows of rowsOf(width)) {
          const inputs = { a: scaled(rows, width, 1), b: scaled(rows, width, 2) }
          const c = { inputs, build: (g: GraphBuilder) => g.output('out', build(g, g.input('a', width), g.input('b', width))) }
          await expectReference(c, { relative, absolute: 1e-37 })
        }
      }
    })

    it(`${name} gives the same in place of an operand, in simpler ops, and through several threads`, async () => {
      const inputs = { a: scaled(70, 67, 3), b: scaled(70, 67, 4) }
      const c = {
        inputs,
        build(g: GraphBuilder) {
          // Neither scaled value is read again, so the op takes over the place of one of them.
          g.output('out', build(g, g.scale(g.input('a', 67), 1), g.scale(g.input('b', 67), 1)))
        },
      }
      const plain = { ...c, build: (g: GraphBuilder) => g.output('out', build(g, g.input('a', 67), g.input('b', 67))) }
      const { steps, values } = compileOp(c).plan
      const { inputs: from, outputs: to } = steps.at(-1)!
      expect(Object.values(from).map((id) => values[id as number]!.offset)).toContain(values[to.out as number]!.offset)
      for (const isa of isas) {
        const expected = await runOp(plain, isa)
        expectClose(await runOp(c, isa), expected, {}, isa)
        expectClose(await runOp({ ...c, threads: 2 }, isa), expected, {}, isa)
        expectClose(await runOp({ ...plain, form: 'decomposed' }, isa), expected, {}, isa)
      }
    })

    it(`${name} keeps what is not finite in its own element`, async () => {
      const special = [NaN, Infinity, -Infinity, 3e38, -3e38, 1e-45, -0, 0]
      const width = 67
      const at = (c: number) => special[Math.floor(c / 2) % special.length]!
      const a = matrix(2, width, (_, c) => (c % 2 === 0 ? at(c) : 1.5))
      const b = matrix(2, width, (_, c) => (c % 2 === 0 ? at(c + 2) : -0.5))
      const c = {
        inputs: { a, b },
        build: (g: GraphBuilder) => g.output('out', build(g, g.input('a', width), g.input('b', width))),
      }
      const expected = referenceOf(c)
      for (const isa of isas) {
        const { data } = (await runOp(c, isa)).out!
        data.forEach((value, i) => {
          if (i % width % 2 === 1) expect(Math.abs(value - expected.out!.data[i]!), isa).toBeLessThan(1e-4)
          if (Number.isNaN(a.data[i]!)) expect(value, isa).toBeNaN()
        })
      }
    })
  }

  it('steps without tokens do nothing', async () => {
    const c = { inputs: { a: matrix(0, 7) }, build: (g: GraphBuilder) => g.output('out', g.silu(g.input('a', 7))) }
    for (const isa of isas) expect((await runOp(c, isa)).out!.data).toHaveLength(0)
  })
})
