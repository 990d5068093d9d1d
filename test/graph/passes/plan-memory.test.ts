import { describe, expect, it } from 'vitest'
import { GraphBuilder } from '../../../src/graph/builder.js'
import { planMemory } from '../../../src/graph/passes/plan-memory.js'
import { madeOf } from '../../support/made-checkpoints.js'

const checkpoint = madeOf({ 'w.weight': ['f32', [40, 16]], 'norm.weight': ['f32', [16]] })

function planned(build: (g: GraphBuilder) => void) {
  const g = new GraphBuilder(checkpoint)
  build(g)
  return planMemory(g.finish())
}

describe('planMemory', () => {
  it('rounds rows up to 64 bytes', () => {
    const { values, bytesPerRow } = planned((g) => g.output('y', g.linear('w', g.input('x', 16), 40)))
    expect(values.map(({ stride }) => stride)).toEqual([64, 192])
    expect(values.every(({ offset }) => offset % 64 === 0)).toBe(true)
    expect(bytesPerRow).toEqual({ tokens: 256, outputs: 0 })
  })
  it('works in place where the op allows it', () => {
    const { values, bytesPerRow } = planned((g) => {
      const x = g.scale(g.input('x', 16), 2)
      g.output('y', g.silu(g.rmsNorm('norm', x, 1e-6)))
    })
    expect(values.slice(1).map(({ offset }) => offset)).toEqual([values[1]!.offset, values[1]!.offset, values[1]!.offset])
    expect(bytesPerRow.tokens).toBe(128)
  })
  it('never overwrites what the caller feeds', () => {
    const { values } = planned((g) => g.output('y', g.silu(g.input('x', 16))))
    expect(values[0]!.offset).not.toBe(values[1]!.offset)
  })
  it('keeps what is read later, and what the caller gets', () => {
    const { values } = planned((g) => {
      const a = g.scale(g.input('x', 16), 2)
      g.output('a', a)
      const b = g.silu(a)
      const c = g.silu(b)
      g.output('y', g.add(b, c))
    })
    const [, a, b, c, y] = values.map(({ offset }) => offset)
    expect(new Set([a, b, c]).size).toBe(3)
    expect([b, c]).toContain(y)
  })
  it('does not work in place on an operand given twice', () => {
    const { values } = planned((g) => {
      const x = g.silu(g.input('x', 16))
      g.output('y', g.mul(x, x))
    })
    expect(values[1]!.offset).not.toBe(values[2]!.offset)
  })
  it('reuses the place of values that nobody needs any more', () => {
    const { bytesPerRow } = planned((g) => {
      let x = g.input('x', 16)
      for (let i = 0; i < 10; i++) x = g.add(x, g.silu(x))
      g.output('y', x)
    })
    expect(bytesPerRow.tokens).toBeLessThanOrEqual(3 * 64)
  })
  it('gives tokens and output rows an arena each', () => {
    const { values, bytesPerRow } = planned((g) => g.output('y', g.silu(g.outputRows(g.input('x', 16)))))
    expect(values.map(({ rows, offset }) => [rows, offset])).toEqual([
      ['tokens', 0],
      ['outputs', 0],
      ['outputs', 0],
    ])
    expect(bytesPerRow).toEqual({ tokens: 64, outputs: 64 })
  })
})
