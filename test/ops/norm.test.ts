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
