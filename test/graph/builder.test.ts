import { describe, expect, it } from 'vitest'
import { GraphBuilder, nearestName, unusedTensors } from '../../src/graph/builder.js'
import { madeOf } from '../support/made-checkpoints.js'

const checkpoint = madeOf({
  'model.embed_tokens.weight': ['q8_0', [50, 64]],
  'model.layers.0.proj.weight': ['f16', [32, 64]],
  'model.layers.0.proj.bias': ['f32', [32]],
  'norm.weight': ['f32', [16]],
  'odd.weight': ['i32', [8, 64]],
  'quantized_norm.weight': ['q8_0', [64]],
})
const failing = (build: (g: GraphBuilder) => unknown) => expect(() => build(new GraphBuilder(checkpoint)))

describe('GraphBuilder', () => {
  it('writes steps with shapes, weights and labels', () => {
    const g = new GraphBuilder(checkpoint)
    const x = g.embedding('model.embed_tokens', g.tokens, 64)
    const y = g.at('model').at('layers.0').linear('proj', x, 32, { bias: true })
    g.output('y', y)
    const { steps, values, weights } = g.finish()
    expect(values[y.id]).toMatchObject({ rows: 'tokens', width: 32, type: 'f32' })
    expect(steps[1]).toMatchObject({
      op: 'linear',
      label: 'model.layers.0.proj',
      inputs: { x: [x.id] },
      weights: { weight: [1], bias: [2] },
    })
    expect(weights.map(({ name }) => name)).toEqual([
      'model.embed_tokens.weight',
      'model.layers.0.proj.weight',
      'model.layers.0.proj.bias',
    ])
  })
  it('takes an optional bias only where the checkpoint has one', () => {
    const g = new GraphBuilder(checkpoint)
    const x = g.embedding('model.embed_tokens', g.tokens, 64)
    g.linear('model.embed_tokens', x, 50, { bias: 'optional' })
    g.at('model.layers.0').linear('proj', x, 32, { bias: 'optional' })
    expect(
      g
        .finish()
        .steps.slice(1)
        .map((step) => 'bias' in step.weights),
    ).toEqual([false, true])
  })
  it('lists a tensor once however often it is used', () => {
    const g = new GraphBuilder(checkpoint)
    g.linear('model.embed_tokens', g.embedding('model.embed_tokens', g.tokens, 64), 50)
    expect(g.finish().weights).toHaveLength(1)
  })
  it('takes some rows of a matrix and of its bias in place, the same ones once', () => {
    const g = new GraphBuilder(checkpoint)
    const layer = g.at('model.layers.0')
    const x = g.embedding('model.embed_tokens', g.tokens, 64)
    const part = (from: number, n: number) => layer.linear('proj', x, n, { bias: true, rows: { from, of: 32 } })
    expect(() => part(25, 8)).toThrow(expect.objectContaining({ code: 'SHAPE_MISMATCH' }))
    expect([part(0, 24).width, part(24, 8).width, part(24, 8).width]).toEqual([24, 8, 8])
    const { weights } = g.finish()
    const [matrix, bias] = ['weight', 'bias'].map((name) => checkpoint.tensors.get(`model.layers.0.proj.${name}`)!.offset)
    expect(weights.slice(1).map((weight) => 'offset' in weight && [weight.offset, weight.shape])).toEqual([
      [matrix, [24, 64]],
      [bias, [24]],
      [matrix! + 24 * 64 * 2, [8, 64]],
      [bias! + 24 * 4, [8]],
    ])
    expect(unusedTensors(checkpoint, g.finish())).not.toContain('model.layers.0.proj.weight')
  })
  it('shares the table of one rope', () => {
    const g = new GraphBuilder(checkpoint)
    const rope = { name: 'rope', frequencies: [1, 0.1], scale: 1, pairing: 'half', headDim: 4 } as const
    const x = g.input('x', 8)
    g.rope(x, rope)
    g.rope(x, rope)
    expect(g.finish().steps.map((step) => step.op)).toEqual(['ropeTable', 'rope', 'rope'])
  })
  it('normalizes groups of a row', () => {
    const g = new GraphBuilder(checkpoint)
    expect(g.rmsNorm('norm', g.input('x', 64), 1e-6, 16).width).toBe(64)
  })
  it('keeps captured values only when asked to', () => {
    for (const capture of [false, true]) {
      const g = new GraphBuilder(checkpoint, { capture })
      g.capture('x', g.input('x', 8))
      expect(g.finish().outputs).toHaveLength(capture ? 1 : 0)
    }
  })
  it('names a missing tensor and the nearest one', () => {
    failing((g) => g.linear('model.layers.0.pro', g.input('x', 64), 32)).toThrow(
      /no tensor "model.layers.0.pro.weight".*"model.layers.0.proj.weight"/,
    )
    failing((g) => g.linear('nothing', g.input('x', 64), 32)).toThrow(expect.objectContaining({ code: 'TENSOR_MISSING' }))
  })
  it('rejects a tensor of another shape', () => {
    failing((g) => g.linear('model.layers.0.proj', g.input('x', 64), 31)).toThrow(
      expect.objectContaining({ code: 'TENSOR_SHAPE' }),
    )
    failing((g) => g.embedding('model.embed_tokens', g.tokens, 32)).toThrow(expect.objectContaining({ code: 'TENSOR_SHAPE' }))
  })
  it('rejects types that cannot be computed with, and quantized vectors', () => {
    const code = expect.objectContaining({ code: 'TENSOR_TYPE_UNSUPPORTED' })
    failing((g) => g.linear('odd', g.input('x', 64), 8)).toThrow(code)
    failing((g) => g.rmsNorm('quantized_norm', g.input('x', 64), 1e-6)).toThrow(code)
  })
  it('rejects operands whose shapes do not fit', () => {
    const code = expect.objectContaining({ code: 'SHAPE_MISMATCH' })
    failing((g) => g.add(g.input('a', 8), g.input('b', 9))).toThrow(code)
    failing((g) => g.add(g.input('a', 8), g.outputRows(g.input('b', 8)))).toThrow(code)
    failing((g) => g.outputRows(g.outputRows(g.input('b', 8)))).toThrow(code)
    failing((g) => g.rmsNorm('norm', g.input('x', 40), 1e-6, 16)).toThrow(code)
    failing((g) => {
      const [q, k] = [g.input('q', 32), g.input('k', 24)]
      return g.attention({ layer: 0, q, k, v: k, headDim: 8 })
    }).toThrow(code)
  })
  it('lists the tensors that nothing reads', () => {
    const g = new GraphBuilder(checkpoint)
    g.embedding('model.embed_tokens', g.tokens, 64)
    expect(unusedTensors(checkpoint, g.finish())).toHaveLength(5)
  })
})

describe('nearestName', () => {
  it('finds the name with the fewest edits', () => expect(nearestName('abcd', ['xxxx', 'abxd', 'ab'])).toBe('abxd'))
  it('takes bounded time on hostile lists', () => {
    const names = Array.from({ length: 20000 }, (_, i) => 'n'.repeat(3000) + i)
    expect(nearestName('n'.repeat(60), names)).toBe('')
  })
})
