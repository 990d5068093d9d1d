/** Quantized activations cannot be read, so a matmul with the identity shows them: q · 1 · scale of each value. */
import { describe, it } from 'vitest'
import type { GraphBuilder } from '../../src/graph/builder.js'
import { quantizeRow } from '../reference/contract.js'
import { matrix, type Matrix, row } from '../reference/matrix.js'
import { expectEqual, isas, runOp } from '../support/run-op.js'
import { random, type TestTensor } from '../support/tensors.js'

const f16One = [0x00, 0x3c]

/** One block in each row: the r-th value is 1. */
function identity(block: 32 | 256): TestTensor {
  const blockBytes = block === 32 ? 34 : 210
  const bytes = new Uint8Array(block * blockBytes)
  for (let r = 0; r < block; r++) {
    const b = bytes.subarray(r * blockBytes, (r + 1) * blockBytes)
    if (block === 32) {
      b.set(f16One)
      b[2 + r] = 1
      continue
    }
    // q6_k: quants are stored plus 32, so the upper two bits are 10 everywhere and the lower four 0001 where the value is 1.
    b.fill(0b10101010, 128, 192).fill(1, 192, 208)
    const [half, quarter, l] = [r >> 7, (r >> 5) & 3, r & 31]
    b[64 * half + 32 * (quarter & 1) + l] = quarter < 2 ? 0x01 : 0x10
    b.set(f16One, 208)
  }
  return { type: block === 32 ? 'q8_0' : 'q6_k', shape: [block, block], bytes }
}

const build = (block: number) => (g: GraphBuilder) => g.output('out', g.linear('identity', g.input('x', block), block))

async function compare(x: Matrix, block: 32 | 256): Promise<void> {
  const rows = Array.from({ length: x.rows }, (_, t) => quantizeRow(row(x, t), block))
  // 0 + 0: no value is minus zero.
  const out = matrix(x.rows, block, (t, c) => Math.fround(rows[t]!.values[c]! * rows[t]!.scales[0]!) + 0)
  const c = { tensors: { 'identity.weight': identity(block) }, inputs: { x }, build: build(block) }
  for (const isa of isas) expectEqual(await runOp(c, isa), { out }, isa)
}

describe('quantize', () => {
  for (const block of [32, 256] as const) {
    it(`follows its rules in blocks of ${block}, for any magnitude`, async () => {
      const x = random(60, block, block)
      x.data.forEach((value, i) => (x.data[i] = Math.fround(value * 2 ** (4 * Math.floor(i / block) - 130))))
      await compare(x, block)
    })

    it(`rounds half to even in blocks of ${block}`, async () => {
      await compare(matrix(3, block, (t, c) => (c === 7 ? 127 : (c % 253) / 2 - 63 + t)), block)
    })

    it(`gives blocks of ${block} with NaN or infinity a scale of NaN, and zeros or tiny values zeros`, async () => {
      const special = [NaN, Infinity, -Infinity, 0, -0, 2 ** -126, 2 ** -149, 127 * 2 ** -126, 3.4e38]
      await compare(matrix(special.length, block, (t, c) => (c === 19 ? Math.fround(special[t]!) : 0)), block)
      await compare(matrix(special.length, block, (t, c) => (c === block - 1 ? Math.fround(special[t]!) : 1)), block)
    })
  }
})
