import { describe, expect, it } from 'vitest'
import type { GraphBuilder, Value } from '../../src/graph/builder.js'
import { type TensorTypeName, tensorTypes } from '../../src/tensor-types.js'
import { map, matrix, type Matrix } from '../reference/matrix.js'
import { decode } from '../reference/quant.js'
import { linear as product } from '../reference/matmul.js'
import {
  compileOp,
  expectClose,
  expectEqual,
  expectReference,
  isas,
  multipliesPairs,
  type OpCase,
  referenceOf,
  runOp,
} from '../support/run-op.js'
import { f32Tensor, random, randomExact, randomTensor, type TestTensor, transposed } from '../support/tensors.js'

const types = (Object.keys(tensorTypes) as TensorTypeName[]).filter((type) => tensorTypes[type].activations !== null)
const blockOf = (type: TensorTypeName) => tensorTypes[type].blockValues

/**
 * How far f32 sums may be from float64: at most K + 6 roundings (of the products, of the sums, of scales and minimums), each
 * of at most 2^-24 of what was added up to there, so of Σ |x| · |w|. Minimums add to that before they cancel: twice.
 */
function roundings(x: Matrix, weight: TestTensor): Matrix {
  const magnitudes = map({ rows: weight.shape[0]!, width: weight.shape[1]!, data: decode(weight.type, weight.bytes) }, Math.abs)
  return map(product(map(x, Math.abs), magnitudes), (sum) => (x.width + 6) * 2 ** -23 * (sum + x.width * 2 ** -6))
}

const largest = (m: Matrix) => m.data.reduce((a, b) => Math.max(a, b), 0)

function one(x: Matrix, weight: TestTensor): OpCase {
  const build = (g: GraphBuilder) => g.output('out', g.linear('w', g.input('x', x.width), weight.shape[0]!))
  return { tensors: { 'w.weight': weight }, inputs: { x }, build }
}

describe('linear', () => {
  for (const type of types) {
    const block = blockOf(type)
    const widths = block === 1 ? [1, 2, 5, 16, 31, 67, 257, 600] : [1, 2, 3, 5].map((n) => n * block)
    it(`matches float64 for ${type}, at every width`, async () => {
      for (const width of widths) {
        for (const [tokens, outs] of [[1, 1], [3, 67], [17, 33]] as const) {
          const x = randomExact(tokens, width, 1)
          const weight = randomTensor(type, [outs, width], 2)
          await expectReference(one(x, weight), { absolute: roundings(x, weight) })
        }
      }
    })

    it(`gives a token of ${type} the same bits alone, in any batch and on any number of threads`, async () => {
      const width = 2 * Math.max(block, 160)
      const x = random(70, width - (width % block), 3)
      const c = one(x, randomTensor(type, [95, x.width], 4))
      // 1, 2, 3 … tokens at once: kernels for few and for many take over from each other somewhere.
      const steps = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13].map((n) => [[0, n] as const])
      for (const isa of isas) {
        const expected = await runOp(c, isa)
        expectEqual(await runOp({ ...c, steps }, isa), expected, isa)
        expectEqual(await runOp({ ...c, threads: 2 }, isa), expected, isa)
      }
    })

    it(`quantizes any input for ${type} to within half a step`, async () => {
      const x = random(5, 2 * Math.max(block, 32), 5)
      const weight = randomTensor(type, [19, x.width], 6)
      // A step is a block's largest value / 127, here below 1 / 127; f32 activations stay as they are, or become bf16.
      const step = tensorTypes[type].activations !== 'f32' ? 1 / 127 : isas.some((isa) => multipliesPairs(isa, type)) ? 2 ** -8 : 0
      const halfSteps = product(matrix(5, x.width, () => step / 2 + 2 ** -24),
        map({ rows: 19, width: x.width, data: decode(type, weight.bytes) }, Math.abs))
      const rounded = roundings(x, weight)
      await expectReference(one(x, weight), { absolute: map(halfSteps, (half, i) => half + rounded.data[i]!) })
    })

    it(`keeps what is not finite in its token with ${type}, and stays defined`, async () => {
      const x = random(9, 2 * Math.max(block, 32), 7)
      const clean = one(x, randomTensor(type, [21, x.width], 8))
      const dirty = { ...clean, inputs: { x: { ...x, data: x.data.slice() } } }
      for (const [t, value] of [NaN, Infinity, -Infinity].entries()) dirty.inputs.x.data[3 * t * x.width + 5] = value
      for (const isa of isas) {
        const expected = (await runOp(clean, isa)).out!
        const found = (await runOp(dirty, isa)).out!
        found.data.forEach((value, i) => {
          if (Math.floor(i / 21) % 3 === 0) expect(Number.isFinite(value), isa).toBe(false)
          else expect(value, isa).toBe(expected.data[i])
        })
      }
    })

    it(`reads weights of ${type} with any bits`, async () => {
      const bytes = randomTensor(type, [40, 2 * Math.max(block, 32)], 9).bytes
      // Scales, too, are whatever comes: infinite, NaN, subnormal.
      const next = random(1, bytes.length, 10).data
      const anything = bytes.map((byte, i) => byte ^ Math.floor(256 * Math.abs(next[i]!)))
      const weight = { type, shape: [40, 2 * Math.max(block, 32)], bytes: anything }
      const c = one(random(20, weight.shape[1]!, 11), weight)
      const scalar = await runOp(c, 'scalar')
      for (const isa of isas) {
        const whole = await runOp(c, isa)
        if (!multipliesPairs(isa, type)) expectEqual(whole, scalar, isa)
        expectEqual(await runOp({ ...c, steps: [[[0, 1]], [[0, 19]]] }, isa), whole, isa)
      }
    })
  }
})

/** Weights of one linear may be of any types: what they read is quantized once for each of the forms. */
const mixtures: readonly (readonly TensorTypeName[])[] = [
  ['f32', 'f32', 'f32'],
  ['q8_0', 'q4_0', 'q5_0'],
  ['q4_k', 'q6_k', 'q4_k'],
  ['q4_k', 'q8_0', 'f16'],
  ['bf16', 'q5_k', 'q6_k', 'q4_0'],
  ['q2_k', 'q3_k', 'q4_1', 'q5_1'],
]

describe('matrices stored the other way', () => {
  for (const type of ['f32', 'f16', 'bf16'] as const) {
    it(`of ${type} give the same bits, whole and by rows`, async () => {
      for (const [rows, cols] of [[1, 1], [5, 1], [1, 7], [33, 65], [64, 31], [99, 40]] as const) {
        const weight = randomTensor(type, [rows, cols], rows)
        const third = Math.floor(rows / 3)
        const build = (g: GraphBuilder) => {
          const x = g.input('x', cols)
          g.output('whole', g.linear('w', x, rows))
          if (third === 0) return
          for (const from of [0, third, 2 * third]) g.output(`from ${from}`, g.linear('w', x, third, { rows: { from, of: rows } }))
        }
        const c = { tensors: { 'w.weight': weight }, inputs: { x: random(9, cols, 3) }, build }
        const turned = { ...c, tensors: { 'w.weight': transposed(weight) } }
        expectEqual(referenceOf(turned), referenceOf(c))
        for (const isa of isas) expectEqual(await runOp(turned, isa), await runOp(c, isa), isa)
      }
    })
  }

  it('of blocks are refused', () => {
    const weight: TestTensor = { ...randomTensor('q8_0', [32, 32], 1), transposed: true }
    const build = (g: GraphBuilder) => g.output('out', g.linear('w', g.input('x', 32), 32))
    const refused = expect.objectContaining({ code: 'TENSOR_TYPE_UNSUPPORTED' })
    expect(() => compileOp({ tensors: { 'w.weight': weight }, inputs: { x: random(1, 32, 1) }, build })).toThrow(refused)
  })
})

describe('fused linears', () => {
  const width = 512
  const x = randomExact(19, width, 1)
  const weightsOf = (kinds: readonly TensorTypeName[], outs: (i: number) => number) => {
    const tensors: Record<string, TestTensor> = {}
    kinds.forEach((type, i) => {
      tensors[`w${i}.weight`] = randomTensor(type, [outs(i), width], i)
      tensors[`w${i}.bias`] = i === 1 ? f32Tensor([...random(1, outs(i), i).data]) : randomTensor('f16', [outs(i)], i)
    })
    return tensors
  }

  /** Fused as models are, as written, and in simple ops: one set of bits, close to float64. */
  async function compare(c: OpCase, step: string, absolute: number): Promise<void> {
    const { plan } = compileOp(c)
    const steps = plan.steps.map(({ op, attributes }) => (op === 'linear' ? `linear ${attributes.epilogue}` : op))
    expect(steps.join(', ')).toBe(step)
    await expectReference(c, { relative: 2 ** -16, absolute })
    for (const isa of isas) {
      const fused = await runOp(c, isa)
      for (const form of ['as written', 'decomposed'] as const) {
        expectEqual(await runOp({ ...c, form }, isa), fused, `${form}, ${isa}`)
      }
      expectEqual(await runOp({ ...c, threads: 2, steps: [[[0, 1]], [[0, 2]], [[0, 16]]] }, isa), fused, `in steps, ${isa}`)
    }
  }
  const inForms = (kinds: readonly TensorTypeName[]) =>
    kinds.every((type) => tensorTypes[type].activations === 'f32') ? '' : 'quantize, '
  const bound = (tensors: Record<string, TestTensor>) =>
    Math.max(...Object.values(tensors).map((tensor) => (tensor.shape.length === 2 ? largest(roundings(x, tensor)) : 0)))

  for (const kinds of mixtures) {
    it(`${kinds.join(' + ')} are one linear, with biases`, async () => {
      const tensors = weightsOf(kinds, (i) => 33 + 15 * i)
      const build = (g: GraphBuilder) => {
        const input = g.input('x', width)
        kinds.forEach((_, i) => g.output(`${i}`, g.linear(`w${i}`, input, 33 + 15 * i, { bias: i !== 2 })))
      }
      await compare({ tensors, inputs: { x }, build }, `${inForms(kinds)}linear none`, bound(tensors))
    })

    for (const gate of ['swiglu', 'geglu'] as const) {
      it(`${kinds[0]} and ${kinds[1]} end in ${gate}`, async () => {
        const tensors = weightsOf(kinds.slice(0, 2), () => 67)
        const build = (g: GraphBuilder) => {
          const input = g.input('x', width)
          g.output('out', g[gate](g.linear('w0', input, 67, { bias: true }), g.linear('w1', input, 67)))
        }
        // Both slopes of act(gate) · up are below |gate| + |up| + 1; sums here stay below 200.
        await compare({ tensors, inputs: { x }, build }, `${inForms(kinds.slice(0, 2))}linear ${gate}`, 200 * bound(tensors))
      })
    }

    it(`${kinds[0]} ends in a residual, given or taken over`, async () => {
      const tensors = weightsOf(kinds.slice(0, 1), () => 67)
      const inputs = { x, residual: random(19, 67, 9) }
      const residual = (build: (g: GraphBuilder, residual: Value, product: Value) => Value, takenOver: boolean): OpCase => ({
        tensors,
        inputs,
        build(g) {
          const given = g.input('residual', 67)
          const input = g.input('x', width)
          const stream = takenOver ? g.scale(given, 1) : given
          g.output('out', build(g, stream, g.linear('w0', input, 67, { bias: true })))
        },
      })
      const steps = `${inForms(kinds.slice(0, 1))}linear add`
      await compare(residual((g, a, b) => g.add(a, b), false), steps, bound(tensors))
      const inPlace = residual((g, a, b) => g.add(b, a), true)
      for (const isa of isas) {
        expectClose(await runOp(inPlace, isa), await runOp(residual((g, a, b) => g.add(a, b), false), isa), {}, isa)
      }
      const { plan } = compileOp(inPlace)
      const last = plan.steps.at(-1)!
      expect(plan.values[[last.outputs.out].flat()[0]!]!.offset).toBe(plan.values[last.inputs.residual as number]!.offset)
    })
  }
})
