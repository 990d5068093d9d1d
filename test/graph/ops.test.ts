import { describe, expect, it } from 'vitest'
import { inferShapes, listCapacity, opRow, ops } from '../../src/graph/ops.js'

describe('op table', () => {
  for (const [name, row] of Object.entries(ops)) {
    it(`${name} says what it computes`, () => expect(row.doc.length).toBeGreaterThan(0))
    it(`${name} replaces only inputs that it has`, () => {
      for (const input of row.inPlace) expect(Object.keys(row.inputs)).toContain(input)
    })
    it(`${name} has one name per operand and attribute`, () => {
      const names = [row.inputs, row.weights, row.outputs, row.attributes].flatMap((names) => Object.keys(names))
      expect(new Set(names).size).toBe(names.length)
    })
  }
  it('knows no op by an inherited name', () => {
    expect(() => opRow('toString')).toThrow(expect.objectContaining({ code: 'PLAN_INVALID' }))
  })
})

describe('inferShapes', () => {
  const values = [16, 16, 8].map((width, id) => ({ id, name: `v${id}`, rows: 'tokens' as const, width, type: 'f32' as const }))
  const weights = [{ shape: [8, 16] }, { shape: [8] }, { shape: [16] }]
  const step = (op: string, changes: object) => ({
    op,
    label: op,
    inputs: {},
    weights: {},
    outputs: {},
    attributes: {},
    ...changes,
  })
  const linear = (changes: object) =>
    step('linear', { inputs: { x: [0] }, weights: { weight: [0] }, attributes: { epilogue: 'none' }, ...changes })
  const mismatch = expect.objectContaining({ code: 'SHAPE_MISMATCH' })

  it('gives a list one shape per weight', () => {
    expect(inferShapes(linear({ weights: { weight: [0, 0] } }), values, weights)).toEqual({
      out: [
        { rows: 'tokens', width: 8 },
        { rows: 'tokens', width: 8 },
      ],
    })
  })
  it('gives one shape where an epilogue joins two weights', () => {
    const gated = linear({ weights: { weight: [0, 0] }, attributes: { epilogue: 'swiglu' } })
    expect(inferShapes(gated, values, weights)).toEqual({ out: [{ rows: 'tokens', width: 8 }] })
  })
  const wrong: [string, object][] = [
    ['an input of another width', linear({ inputs: { x: [2] } })],
    ['a missing input', linear({ inputs: {} })],
    ['a list that is too long', linear({ weights: { weight: Array(listCapacity + 1).fill(0) } })],
    ['a vector as matrix', linear({ weights: { weight: [1] } })],
    ['a bias of another length', linear({ weights: { weight: [0], bias: [2] } })],
    ['a residual that is missing', linear({ attributes: { epilogue: 'add' } })],
    ['a residual of another width', linear({ inputs: { x: [0], residual: 1 }, attributes: { epilogue: 'add' } })],
    ['a gate without up', linear({ attributes: { epilogue: 'geglu' } })],
    ['heads that do not fill a row', step('attention', { inputs: { q: 0 }, attributes: { headDim: 5 } })],
    ['more angles than a head has', step('rope', { inputs: { x: 2, table: 0 }, attributes: { headDim: 8 } })],
  ]
  for (const [what, broken] of wrong)
    it(`refuses ${what}`, () => expect(() => inferShapes(broken as never, values, weights)).toThrow(mismatch))
})
