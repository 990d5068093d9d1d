import { describe, expect, it } from 'vitest'
import type { GraphBuilder } from '../../src/graph/builder.js'
import { matrix } from '../reference/matrix.js'
import { compileOp, expectClose, expectEqual, expectReference, isas, runOp } from '../support/run-op.js'
import { f32Tensor, random, randomTensor } from '../support/tensors.js'

// The sum of squares has at most 2^-24 · (width / 64 + 6) of relative error, halved by the root; then a quotient, a root and
// two products.
const relative = (width: number) => 2 ** -24 * (width / 64 + 12)

const norm = (width: number, group = width) => (g: GraphBuilder) =>
  g.output('out', g.rmsNorm('norm', g.input('x', width), 1e-5, group))

describe('rmsNorm', () => {
  it('matches float64 at every width', async () => {
    for (const width of [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 67, 257, 4096]) {
      const tensors = { 'norm.weight': f32Tensor([...random(1, width, 1).data]) }
      for (const rows of width === 67 ? [1, 2, 70] : [3]) {
        const c = { tensors, inputs: { x: random(rows, width, 2) }, build: norm(width) }
        await expectReference(c, { relative: relative(width) })
      }
    }
  })

  it('normalizes groups of a row with weights of every plain type', async () => {
    for (const type of ['f32', 'f16', 'bf16'] as const) {
      for (const [group, groups] of [[1, 5], [7, 3], [16, 4], [64, 2], [67, 3]] as const) {
        const tensors = { 'norm.weight': randomTensor(type, [group], 3) }
        const inputs = { x: random(3, group * groups, 4) }
        await expectReference({ tensors, inputs, build: norm(group * groups, group) }, { relative: relative(group) })
      }
    }
  })

  it('gives the same in place of x', async () => {
    const tensors = { 'norm.weight': f32Tensor([...random(1, 67, 1).data]) }
    const inputs = { x: random(5, 67, 2) }
    const build = (g: GraphBuilder) => g.output('out', g.rmsNorm('norm', g.scale(g.input('x', 67), 1), 1e-5))
    const c = { tensors, inputs, build }
    const { plan } = compileOp(c)
    const [scaled, normed] = plan.steps.map((step) => plan.values[[step.outputs.out].flat()[0]!]!.offset)
    expect(scaled).toBe(normed)
    for (const isa of isas) expectEqual(await runOp(c, isa), await runOp({ tensors, inputs, build: norm(67) }, isa), isa)
  })

  it('writes int8 for the linears behind it, as quantize would, and f32 for who else reads it', async () => {
    const tensors = {
      'norm.weight': f32Tensor([...random(1, 256, 1).data]),
      'a.weight': randomTensor('q8_0', [5, 256], 2),
      'b.weight': randomTensor('q4_k', [5, 256], 3),
      'c.weight': randomTensor('f16', [5, 256], 4),
    }
    const build = (readers: string) => (g: GraphBuilder) => {
      const x = g.rmsNorm('norm', g.input('x', 256), 1e-5)
      for (const name of readers) g.output(name, name === 'x' ? x : g.linear(name, x, 5))
    }
    const inputs = { x: random(7, 256, 5) }
    for (const readers of ['a', 'ab', 'abc', 'abcx', 'ax']) {
      const fused = { tensors, inputs, build: build(readers) }
      expect(compileOp(fused).plan.steps.map((step) => step.op), readers).not.toContain('quantize')
      // A scale by one between them is read by the linears, so the norm cannot quantize.
      const apart = {
        ...fused,
        build(g: GraphBuilder) {
          const x = g.scale(g.rmsNorm('norm', g.input('x', 256), 1e-5), 1)
          for (const name of readers) g.output(name, name === 'x' ? x : g.linear(name, x, 5))
        },
      }
      for (const isa of isas) expectEqual(await runOp(fused, isa), await runOp(apart, isa), `${readers} on ${isa}`)
    }
  })

  it('makes a row with a NaN all NaN, and leaves its neighbours alone', async () => {
    const tensors = { 'norm.weight': f32Tensor([...random(1, 67, 1).data]) }
    const x = matrix(3, 67, (r, c) => (r === 1 && c === 40 ? NaN : c - 30))
    for (const isa of isas) {
      const { data } = (await runOp({ tensors, inputs: { x }, build: norm(67) }, isa)).out!
      data.forEach((value, i) => expect(Number.isNaN(value), isa).toBe(Math.floor(i / 67) === 1))
    }
  })

  it('makes zeros of zeros', async () => {
    const tensors = { 'norm.weight': f32Tensor([...random(1, 67, 1).data]) }
    const inputs = { x: matrix(2, 67) }
    for (const isa of isas) expectClose(await runOp({ tensors, inputs, build: norm(67) }, isa), { out: matrix(2, 67) }, {}, isa)
  })
})

// Two sums by the same tree. What rounding the mean loses stands against the spread of the row, which is above 0.5 here.
const layerNorm = (width: number) => (g: GraphBuilder) => g.output('out', g.layerNorm('norm', g.input('x', width), 1e-5))
const layerNormTensors = (width: number, type: 'f32' | 'f16' | 'bf16' = 'f32') => ({
  'norm.weight': randomTensor(type, [width], 1),
  'norm.bias': randomTensor(type, [width], 2),
})

describe('layerNorm', () => {
  it('matches float64 at every width, for every plain type of weights', async () => {
    for (const width of [2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 67, 257, 4096]) {
      for (const rows of width === 67 ? [1, 2, 70] : [3]) {
        // Rows far from zero, so that the mean matters; two values are never close to each other.
        const x = random(rows, width, 3)
        const inputs = { x: { ...x, data: x.data.map((value, i) => Math.fround(value + 2 * (i % 2) + 3)) } }
        for (const type of width === 67 ? (['f32', 'f16', 'bf16'] as const) : (['f32'] as const)) {
          const c = { tensors: layerNormTensors(width, type), inputs, build: layerNorm(width) }
          await expectReference(c, { relative: relative(width), absolute: 2 ** -20 })
        }
      }
    }
  })

  it('gives the bias for rows of one value, and of equal ones', async () => {
    for (const width of [1, 64]) {
      const tensors = { 'norm.weight': f32Tensor([...random(1, width, 1).data]), 'norm.bias': f32Tensor([...random(1, width, 2).data]) }
      await expectReference({ tensors, inputs: { x: matrix(3, width, (r) => r - 1) }, build: layerNorm(width) }, {})
    }
  })

  it('gives the same in place of x, and quantizes as quantize would', async () => {
    const tensors = { ...layerNormTensors(256), 'a.weight': randomTensor('q8_0', [5, 256], 3), 'b.weight': randomTensor('q4_k', [5, 256], 4) }
    const inputs = { x: random(5, 256, 5) }
    const plain = { tensors, inputs, build: layerNorm(256) }
    const build = (g: GraphBuilder) => g.output('out', g.layerNorm('norm', g.scale(g.input('x', 256), 1), 1e-5))
    const read = (apart: boolean) => (g: GraphBuilder) => {
      const normed = g.layerNorm('norm', g.input('x', 256), 1e-5)
      const x = apart ? g.scale(normed, 1) : normed
      for (const name of ['a', 'b']) g.output(name, g.linear(name, x, 5))
    }
    expect(compileOp({ ...plain, build: read(false) }).plan.steps.map(({ op }) => op)).toEqual(['layerNorm', 'linear'])
    for (const isa of isas) {
      expectEqual(await runOp({ ...plain, build, threads: 2 }, isa), await runOp(plain, isa), isa)
      expectEqual(await runOp({ ...plain, build: read(false) }, isa), await runOp({ ...plain, build: read(true) }, isa), isa)
    }
  })

  it('makes a row with a NaN all NaN, and leaves its neighbours alone', async () => {
    const x = matrix(3, 67, (r, c) => (r === 1 && c === 40 ? NaN : c - 30))
    for (const isa of isas) {
      const { data } = (await runOp({ tensors: layerNormTensors(67), inputs: { x }, build: layerNorm(67) }, isa)).out!
      data.forEach((value, i) => expect(Number.isNaN(value), isa).toBe(Math.floor(i / 67) === 1))
    }
  })
})
