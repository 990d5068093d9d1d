import { describe, expect, it } from 'vitest'
import type { Experts, GraphBuilder } from '../../src/graph/builder.js'
import { matrix, type Matrix } from '../reference/matrix.js'
import { compileOp, expectClose, expectEqual, expectReference, isas, type OpCase, type Outputs, referenceOf, runOp } from '../support/run-op.js'
import { random, randomExact, randomTensor, type TestTensor } from '../support/tensors.js'

const stems = { gate: 'w1', up: 'w3', down: 'w2' }

interface Shape {
  readonly dim: number
  readonly ffnDim: number
  readonly nExperts: number
  readonly active: number
}

/** The matrices of all experts, stacked or one by one. */
function expertTensors({ dim, ffnDim, nExperts }: Shape, types: readonly ('f32' | 'f16' | 'q8_0' | 'q4_k' | 'q6_k')[], apart = false) {
  const tensors: Record<string, TestTensor> = {}
  const shapes = { w1: [ffnDim, dim], w3: [ffnDim, dim], w2: [dim, ffnDim] } as const
  Object.entries(shapes).forEach(([stem, shape], i) => {
    const stack = randomTensor(types[i % types.length]!, [nExperts * shape[0], shape[1]], 10 + i)
    const each = stack.bytes.length / nExperts
    if (!apart) tensors[`e.${stem}.weight`] = { ...stack, shape: [nExperts, ...shape] }
    else
      for (let e = 0; e < nExperts; e++)
        tensors[`e.${e}.${stem}.weight`] = { ...stack, shape, bytes: stack.bytes.subarray(e * each, (e + 1) * each) }
  })
  return tensors
}

const mixture = (g: GraphBuilder, { dim, ffnDim, nExperts, active }: Shape) => {
  const routing = g.route(g.input('scores', nExperts), active, 'softmaxOfChosen')
  const experts: Experts = { nExperts, ffnDim, ...stems }
  g.output('out', g.experts('e', g.input('x', dim), routing, experts))
}

const sharp = (x: Matrix): Matrix => ({ ...x, data: x.data.map((value) => Math.fround(4 * value)) })
const inputs = (rows: number, { dim, nExperts }: Shape, seed = 1) => ({
  scores: sharp(random(rows, nExperts, seed)),
  x: randomExact(rows, dim, seed + 1),
})

/** One NaN of a row is as good as another. */
const rowHasNan = ({ out }: Outputs, r: number) => out!.data.subarray(r * out!.width, (r + 1) * out!.width).some(Number.isNaN)

describe('route', () => {
  const build = (n: number, active: number, gating: 'softmax' | 'softmaxOfChosen') => (g: GraphBuilder) =>
    g.output('out', g.route(g.input('scores', n), active, gating))

  for (const gating of ['softmax', 'softmaxOfChosen'] as const) {
    it(`finds the best and weighs them, ${gating}`, async () => {
      for (const [n, active] of [[1, 1], [2, 2], [3, 1], [8, 2], [17, 5], [64, 64], [128, 8], [257, 9]] as const) {
        // exp within 1 ulp of rounded differences below 8, sums of as many, and a quotient.
        const c = { inputs: { scores: sharp(random(9, n, n)) }, build: build(n, active, gating) }
        await expectReference(c, { relative: 2 ** -19 })
      }
    })
  }

  it('takes the lower number of equal scores, zeros of both signs too', async () => {
    const scores = matrix(4, 20, (r, c) => [0, c % 2 ? 0 : -0, c % 3, -(c % 5)][r]!)
    const numbers = [[0, 1, 2, 3], [0, 1, 2, 3], [2, 5, 8, 11], [0, 5, 10, 15]]
    for (const isa of isas) {
      const { out } = await runOp({ inputs: { scores }, build: build(20, 4, 'softmaxOfChosen') }, isa)
      numbers.forEach((expected, r) => expect([...out!.data.subarray(8 * r, 8 * r + 4)], isa).toEqual(expected))
      expect([...out!.data.subarray(4, 8)], isa).toEqual([0.25, 0.25, 0.25, 0.25])
    }
  })

  it('gives weights of NaN to a row with a NaN, and numbers of experts all the same', async () => {
    const scores = matrix(3, 9, (r, c) => (r === 1 && c === 7 ? NaN : c))
    for (const isa of isas)
      for (const gating of ['softmax', 'softmaxOfChosen'] as const) {
        const { data } = (await runOp({ inputs: { scores }, build: build(9, 2, gating) }, isa)).out!
        expect([...data.subarray(4, 6)]).toEqual([7, 8])
        expect(data.subarray(6, 8).every(Number.isNaN)).toBe(true)
        expect([...data.subarray(0, 2), ...data.subarray(8, 10)]).toEqual([8, 7, 8, 7])
      }
  })
})

describe('experts', () => {
  const shapes: Shape[] = [
    { dim: 7, ffnDim: 5, nExperts: 3, active: 2 },
    { dim: 33, ffnDim: 65, nExperts: 8, active: 2 },
    { dim: 64, ffnDim: 31, nExperts: 5, active: 5 },
    { dim: 40, ffnDim: 32, nExperts: 1, active: 1 },
    { dim: 16, ffnDim: 96, nExperts: 130, active: 8 },
  ]
  for (const shape of shapes) {
    it(`match float64 with ${shape.active} of ${shape.nExperts} experts of ${shape.ffnDim} × ${shape.dim}`, async () => {
      for (const rows of [1, 2, 70, 200]) {
        const tensors = expertTensors(shape, rows === 2 ? ['f16', 'f32'] : ['f32'])
        const c = { tensors, inputs: inputs(rows, shape), build: (g: GraphBuilder) => mixture(g, shape) }
        // Two products of up to 96 terms below 2 · 2, one after the other.
        await expectReference(c, { absolute: 2 ** -12, relative: 2 ** -18 })
      }
    })
  }

  for (const types of [['q8_0'], ['q4_k', 'q6_k', 'q8_0'], ['q8_0', 'q4_k', 'f16'], ['f32', 'q6_k', 'q4_k']] as const) {
    it(`give the same bits stacked and one by one, in any step, company and number of threads, with ${types.join(', ')}`, async () => {
      const shape = { dim: 256, ffnDim: 256, nExperts: 6, active: 2 }
      const build = (g: GraphBuilder) => mixture(g, shape)
      const c: OpCase = { tensors: expertTensors(shape, types), inputs: inputs(22, shape), sequences: [14, 8], build }
      const steps = [[[0, 1]], [[1, 5], [0, 3]], [[0, 1], [1, 1]], [[0, 9], [1, 2]]] as const
      for (const isa of isas) {
        const whole = await runOp(c, isa)
        expect(whole.out!.data.some((value) => value !== 0)).toBe(true)
        expectEqual(await runOp({ ...c, tensors: expertTensors(shape, types, true) }, isa), whole, `${isa}, one by one`)
        for (const threads of [1, 3]) expectEqual(await runOp({ ...c, steps, threads }, isa), whole, `${isa}, ${threads} threads`)
      }
    })
  }

  it('give the bits of one linear after another, added in ascending number', async () => {
    const shape = { dim: 256, ffnDim: 256, nExperts: 4, active: 2 }
    for (const type of ['q8_0', 'q4_k', 'f32'] as const) {
      const tensors = expertTensors(shape, [type], true)
      const c = { tensors, inputs: inputs(12, shape), build: (g: GraphBuilder) => mixture(g, shape) }
      // Every expert's result for every token, as a dense model computes it.
      const dense = {
        tensors,
        inputs: { x: c.inputs.x },
        build(g: GraphBuilder) {
          const x = g.input('x', shape.dim)
          for (let e = 0; e < shape.nExperts; e++) {
            const gated = g.swiglu(g.linear(`e.${e}.w1`, x, shape.ffnDim), g.linear(`e.${e}.w3`, x, shape.ffnDim))
            g.output(String(e), g.linear(`e.${e}.w2`, gated, shape.dim))
          }
        },
      }
      const routed = { inputs: { scores: c.inputs.scores }, build: (g: GraphBuilder) => g.output('out', g.route(g.input('scores', 4), 2, 'softmaxOfChosen')) }
      for (const isa of isas) {
        const [mixed, each, routing] = [await runOp(c, isa), await runOp(dense, isa), (await runOp(routed, isa)).out!]
        const out = matrix(12, shape.dim, (t, d) => {
          const chosen = [0, 1].map((r) => [routing.data[4 * t + r]!, routing.data[4 * t + 2 + r]!] as const)
          // The sum of a product in float64 and an f32 is rounded to f32 once here: 48 + 24 bits can differ from an FMA by its last.
          return chosen.sort(([a], [b]) => a - b).reduce((sum, [e, weight]) => Math.fround(weight * each[e]!.data[t * shape.dim + d]! + sum), 0)
        })
        expectClose(mixed, { out }, { relative: 2 ** -23, absolute: 1e-30 }, isa)
      }
    }
  })

  it('read the experts that are chosen, and no others', async () => {
    const shape = { dim: 64, ffnDim: 64, nExperts: 5, active: 2 }
    const tensors = expertTensors(shape, ['f32'], true)
    const poisoned = Object.fromEntries(
      Object.entries(tensors).map(([name, tensor]) => [name, /e\.[13]\./.test(name) ? { ...tensor, bytes: tensor.bytes.map(() => 0xff) } : tensor]),
    )
    const scores = matrix(6, 5, (t, e) => [5, -9, t, -9, 2][e]!)
    const c = { tensors, inputs: { scores, x: random(6, 64, 3) }, build: (g: GraphBuilder) => mixture(g, shape) }
    for (const isa of isas) expectEqual(await runOp({ ...c, tensors: poisoned }, isa), await runOp(c, isa), isa)
  })

  it('keep a NaN in its token', async () => {
    const shape = { dim: 64, ffnDim: 32, nExperts: 4, active: 2 }
    for (const type of ['f32', 'q8_0'] as const)
      for (const name of ['scores', 'x'] as const) {
        const clean = inputs(9, shape)
        const dirty = { ...clean[name], data: clean[name].data.with(4 * clean[name].width + 1, NaN) }
        const c = { tensors: expertTensors(shape, [type]), inputs: { ...clean, [name]: dirty }, build: (g: GraphBuilder) => mixture(g, shape) }
        for (const isa of isas) {
          const out = await runOp(c, isa)
          expect(Array.from({ length: 9 }, (_, r) => rowHasNan(out, r)), `${isa} ${name}`).toEqual(Array.from({ length: 9 }, (_, r) => r === 4))
        }
      }
  })

  it('refuse matrices of different types, and stacks of another shape', () => {
    const shape = { dim: 32, ffnDim: 32, nExperts: 2, active: 1 }
    const apart = expertTensors(shape, ['f32'], true)
    const mixed = { ...apart, 'e.1.w3.weight': randomTensor('f16', [32, 32], 1) }
    const build = (g: GraphBuilder) => mixture(g, shape)
    const inputsOf = inputs(1, shape)
    const code = (code: string) => expect.objectContaining({ code })
    expect(() => compileOp({ tensors: mixed, inputs: inputsOf, build })).toThrow(code('TENSOR_TYPE_UNSUPPORTED'))
    const { 'e.1.w2.weight': _, ...missing } = apart
    expect(() => compileOp({ tensors: missing, inputs: inputsOf, build })).toThrow(code('TENSOR_MISSING'))
    const wrong = expertTensors({ ...shape, nExperts: 3 }, ['f32'])
    expect(() => compileOp({ tensors: wrong, inputs: inputsOf, build })).toThrow(code('TENSOR_SHAPE'))
  })

  it('do nothing for no tokens', async () => {
    const shape = { dim: 32, ffnDim: 32, nExperts: 2, active: 1 }
    const c = { tensors: expertTensors(shape, ['q8_0']), inputs: inputs(0, shape), build: (g: GraphBuilder) => mixture(g, shape) }
    expect(referenceOf(c).out!.data).toHaveLength(0)
    for (const isa of isas) expect((await runOp(c, isa)).out!.data).toHaveLength(0)
  })
})
