/** `linear` against the contract of docs/architecture.md, written out in test/reference/contract.ts: bit for bit. */
import { describe, it } from 'vitest'
import type { GraphBuilder } from '../../src/graph/builder.js'
import { type TensorTypeName, tensorTypes } from '../../src/tensor-types.js'
import { bf16PairsLinear, floatLinear, integerLinear, scalesAt } from '../reference/contract.js'
import { matrix, type Matrix, row } from '../reference/matrix.js'
import { expectEqual, isas, multipliesPairs, runOp } from '../support/run-op.js'
import { random, randomTensor, type TestTensor } from '../support/tensors.js'

const types = (Object.keys(tensorTypes) as TensorTypeName[]).filter((type) => tensorTypes[type].activations !== null)

/** The f32 values of a matrix, as `embedding` reads them (test/ops/gather.test.ts holds that against the golden blocks). */
async function decoded(weight: TestTensor, isa: string): Promise<Matrix> {
  const [rows, width] = weight.shape as [number, number]
  const tokens = Array.from({ length: rows }, (_, t) => t)
  const build = (g: GraphBuilder) => g.output('out', g.embedding('table', g.tokens, width))
  return (await runOp({ tensors: { 'table.weight': weight }, tokens, vocabSize: rows, build }, isa)).out!
}

async function contractOf(x: Matrix, weight: TestTensor, isa = 'scalar'): Promise<Matrix> {
  if (multipliesPairs(isa, weight.type)) return bf16PairsLinear(x, await decoded(weight, 'scalar'))
  if (tensorTypes[weight.type].activations === 'f32') return floatLinear(x, await decoded(weight, 'scalar'))
  return integerLinear(x, weight.type, weight.bytes)
}

const linear = (weight: TestTensor, x: Matrix) => ({
  tensors: { 'w.weight': weight },
  inputs: { x },
  build: (g: GraphBuilder) => g.output('out', g.linear('w', g.input('x', x.width), weight.shape[0]!)),
})

describe('the contract of linear', () => {
  for (const type of types) {
    const blockValues = Math.max(32, tensorTypes[type].blockValues)
    for (const [blocks, outs] of [[1, 1], [3, 37], [10, 17]] as const) {
      const width = type === 'f32' || type === 'f16' || type === 'bf16' ? blocks * blockValues - 5 : blocks * blockValues
      it(`holds for ${type} [${outs}, ${width}] with 1 token and with 40`, async () => {
        const weight = randomTensor(type, [outs, width], 1 + blocks)
        // Rows of very different sizes: an order of additions that differs shows.
        const x = random(40, width, 2)
        x.data.forEach((value, i) => (x.data[i] = Math.fround(value * 2 ** ((Math.floor(i / 32) * 7) % 11))))
        const one: Matrix = { rows: 1, width, data: row(x, 3) }
        const common = await contractOf(x, weight)
        for (const isa of isas) {
          const expected = multipliesPairs(isa, type) ? await contractOf(x, weight, isa) : common
          const ofOne: Matrix = { rows: 1, width: outs, data: row(expected, 3) }
          expectEqual(await runOp(linear(weight, x), isa), { out: expected }, isa)
          expectEqual(await runOp(linear(weight, one), isa), { out: ofOne }, `${isa}, one token`)
        }
      })
    }
  }

  for (const type of types.filter((type) => type === 'f16' || tensorTypes[type].activations !== 'f32')) {
    it(`holds for ${type} where a row is cut into several panels`, async () => {
      const weight = randomTensor(type, [3, 9 * 1024], 3)
      const x = random(21, 9 * 1024, 4)
      const expected = await contractOf(x, weight)
      // Panels are longer for few tokens.
      const steps = [1, 2, 5, 13].map((n) => [[0, n] as const])
      for (const isa of isas) {
        expectEqual(await runOp(linear(weight, x), isa), { out: expected }, isa)
        expectEqual(await runOp({ ...linear(weight, x), steps }, isa), { out: expected }, `${isa}, in steps`)
      }
    })
  }

  it('holds for the largest sums: every weight and every activation at the end of its range', async () => {
    for (const type of types.filter((type) => tensorTypes[type].activations !== 'f32')) {
      const weight = randomTensor(type, [33, 512], 9)
      const { d, min } = scalesAt[type] ?? { d: 0 } // mxfp4: an exponent, and a byte that is any
      const scaleBytes = [d, d + 1, ...(min === undefined ? [] : [min, min + 1])]
      for (const fill of [0x00, 0x80, 0xff]) {
        const bytes = weight.bytes.map((byte, i) => (scaleBytes.includes(i % tensorTypes[type].blockBytes) ? byte : fill))
        const x = matrix(9, 512, (t, c) => (t % 3 === 0 ? 1 : t % 3 === 1 ? -1 : c % 2 === 0 ? 1 : -1))
        const expected = await contractOf(x, { ...weight, bytes })
        for (const isa of isas) {
          expectEqual(await runOp(linear({ ...weight, bytes }, x), isa), { out: expected }, `${type} ${fill} ${isa}`)
        }
      }
    }
  })
})
