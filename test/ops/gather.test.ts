import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { GraphBuilder } from '../../src/graph/builder.js'
import { type TensorTypeName, tensorTypes } from '../../src/tensor-types.js'
import { goldensFolder, readTensors } from '../support/goldens.js'
import { compileOp, expectEqual, expectReference, isas, runOp } from '../support/run-op.js'
import { random, randomTensor } from '../support/tensors.js'

/** Every type that a matrix may have. */
const types = (Object.keys(tensorTypes) as TensorTypeName[]).filter((type) => tensorTypes[type].activations !== null)

const embedding = (width: number) => (g: GraphBuilder) => g.output('out', g.embedding('table', g.tokens, width))

describe('embedding', () => {
  for (const type of types) {
    const { blockValues } = tensorTypes[type]
    const widths = blockValues === 1 ? [1, 7, 16, 17, 67, 257] : [1, 2, 5].map((n) => n * blockValues)
    it(`reads rows of ${type}`, async () => {
      for (const width of widths) {
        const tensors = { 'table.weight': randomTensor(type, [9, width], width) }
        const c = { tensors, tokens: [8, 0, 3, 3, 1, 7], vocabSize: 9, build: embedding(width) }
        // d · scale · quant, a minimum and its scale, and their difference: four roundings of at most what is subtracted.
        await expectReference(c, { relative: 2 ** -23, absolute: blockValues === 1 ? 0 : 2 ** -18 })
      }
    })

    // f32 values are no blocks.
    if (type === 'f32') continue
    const path = join(goldensFolder, 'quant', `${type}.safetensors`)
    if (!existsSync(path)) console.warn(`SKIPPED: there are no golden blocks ${path}`)
    it.skipIf(!existsSync(path))(`reads the golden blocks of ${type}`, async () => {
      const golden = readTensors(path)
      const { shape, data } = golden.get('dequantized')!
      const [rows, width] = shape as [number, number]
      const bytes = Uint8Array.from(golden.get('bytes')!.data)
      const c = {
        tensors: { 'table.weight': { type, shape, bytes } },
        tokens: Array.from({ length: rows }, (_, t) => t),
        vocabSize: rows,
        build: embedding(width),
      }
      for (const isa of isas) expectEqual(await runOp(c, isa), { out: { rows, width, data } }, isa)
    })
  }

  it('multiplies by a scale, alone and folded in', async () => {
    const tensors = { 'table.weight': randomTensor('f16', [5, 67], 1) }
    const c = {
      tensors,
      tokens: [4, 0, 2],
      vocabSize: 5,
      build: (g: GraphBuilder) => g.output('out', g.scale(g.embedding('table', g.tokens, 67), 16.97)),
    }
    await expectReference(c, { relative: 2 ** -23 })
    expect(compileOp(c).plan.steps).toHaveLength(1)
    for (const isa of isas) {
      for (const form of ['as written', 'decomposed'] as const) {
        expectEqual(await runOp(c, isa), await runOp({ ...c, form }, isa), `${form}, ${isa}`)
      }
    }
  })

  it('does nothing for no tokens', async () => {
    const c = { tensors: { 'table.weight': randomTensor('q8_0', [2, 32], 1) }, tokens: [], vocabSize: 2, build: embedding(32) }
    for (const isa of isas) expect((await runOp(c, isa)).out!.data).toHaveLength(0)
  })
})

describe('positionEmbedding', () => {
  it('reads the row of each position, whatever the tokens are and however they are cut into steps', async () => {
    for (const type of ['f32', 'f16', 'q8_0'] as const) {
      const tensors = { 'table.weight': randomTensor(type, [4096, 32], 7) }
      const build = (g: GraphBuilder) => g.output('out', g.positionEmbedding('table', 4096, 32))
      const c = { tensors, tokens: Array.from({ length: 90 }, () => 0), sequences: [70, 20], build }
      await expectReference(c, { relative: 2 ** -23 })
      const steps = [[[0, 33]], [[1, 1], [0, 1]], [[0, 36], [1, 19]]] as const
      for (const isa of isas) expectEqual(await runOp({ ...c, steps, threads: 2 }, isa), await runOp(c, isa), isa)
    }
  })

  it('is refused where a context has more positions than the table has rows', async () => {
    const tensors = { 'table.weight': randomTensor('f32', [4095, 4], 7) }
    const build = (g: GraphBuilder) => g.output('out', g.positionEmbedding('table', 4095, 4))
    const refused = runOp({ tensors, tokens: [0], build }, isas[0]!)
    await expect(refused).rejects.toThrow(expect.objectContaining({ code: 'PLAN_INVALID' }))
  })
})

describe('outputRows', () => {
  it('copies rows bit for bit, NaN and all', async () => {
    for (const [rows, width] of [[1, 1], [3, 7], [70, 67], [5, 257]] as const) {
      const x = random(rows, width, rows)
      x.data[0] = NaN
      const c = { inputs: { x }, build: (g: GraphBuilder) => g.output('out', g.outputRows(g.input('x', width))) }
      for (const isa of isas) expectEqual(await runOp(c, isa), { out: x }, isa)
    }
  })
})
