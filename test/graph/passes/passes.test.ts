import { describe, expect, it } from 'vitest'
import { GraphBuilder } from '../../../src/graph/builder.js'
import { checkGraph, compileGraph } from '../../../src/graph/compile.js'
import type { Graph } from '../../../src/graph/graph.js'
import { joinLabels } from '../../../src/graph/graph.js'
import { decompose } from '../../../src/graph/passes/decompose.js'
import { foldActivation } from '../../../src/graph/passes/fold-activation.js'
import { foldResidual } from '../../../src/graph/passes/fold-residual.js'
import { foldScale } from '../../../src/graph/passes/fold-scale.js'
import { groupKvLayers } from '../../../src/graph/passes/group-kv-layers.js'
import { groupLinears } from '../../../src/graph/passes/group-linears.js'
import { placeHead } from '../../../src/graph/passes/place-head.js'
import { quantizeActivations } from '../../../src/graph/passes/quantize-activations.js'
import { removeDead } from '../../../src/graph/passes/remove-dead.js'
import { madeOf } from '../../support/made-checkpoints.js'

const checkpoint = madeOf({
  'embed.weight': ['f32', [10, 256]],
  'norm.weight': ['f32', [256]],
  'heads.weight': ['f32', [64]],
  'a.weight': ['q8_0', [256, 256]],
  'b.weight': ['q4_k', [256, 256]],
  'c.weight': ['f16', [256, 256]],
  'c.bias': ['f32', [256]],
  'd.weight': ['q8_0', [256, 256]],
  'e.weight': ['f32', [256, 256]],
})

function graphOf(build: (g: GraphBuilder) => void): Graph {
  const g = new GraphBuilder(checkpoint)
  build(g)
  return g.finish()
}
const opsOf = (graph: Pick<Graph, 'steps'>) => graph.steps.map((step) => step.op)
const typesOf = (graph: Graph, ids: unknown) => (ids as number[]).map((id) => graph.values[id]!.type)

describe('groupLinears', () => {
  it('groups linears of one input at the place of the first, with their biases', () => {
    const graph = groupLinears(
      graphOf((g) => {
        const x = g.input('x', 256)
        const a = g.linear('a', x, 256)
        const s = g.silu(a)
        g.output('y', g.add(s, g.linear('c', x, 256, { bias: true })))
      }),
    )
    expect(opsOf(graph)).toEqual(['linear', 'silu', 'add'])
    expect(graph.steps[0]).toMatchObject({
      label: '{a,c}',
      inputs: { x: [0] },
      weights: { weight: [0, 1], bias: [-1, 2] },
      outputs: { out: [1, 3] },
    })
    checkGraph(graph)
  })
  it('opens another group after four', () => {
    const graph = groupLinears(
      graphOf((g) => {
        const x = g.input('x', 256)
        for (const name of ['a', 'b', 'c', 'd', 'e']) g.output(name, g.linear(name, x, 256))
      }),
    )
    expect(graph.steps.map((step) => (step.weights.weight as number[]).length)).toEqual([4, 1])
    checkGraph(graph)
  })
  it('leaves linears of different inputs alone', () => {
    const graph = graphOf((g) => g.output('y', g.linear('a', g.linear('b', g.input('x', 256), 256), 256)))
    expect(groupLinears(graph).steps).toEqual(graph.steps)
  })
})

describe('foldActivation', () => {
  const gated = (order: (g: GraphBuilder) => void) => foldActivation(groupLinears(graphOf(order)))
  it('makes the activation the epilogue of gate and up', () => {
    const graph = gated((g) => {
      const x = g.input('x', 256)
      g.output('y', g.swiglu(g.linear('a', x, 256), g.linear('c', x, 256, { bias: true })))
    })
    expect(graph.steps).toHaveLength(1)
    expect(graph.steps[0]).toMatchObject({
      weights: { weight: [0, 1], bias: [-1, 2] },
      outputs: { out: [3] },
      attributes: { epilogue: 'swiglu' },
    })
    checkGraph(graph)
  })
  it('puts the gate first when the graph computes it second', () => {
    const graph = gated((g) => {
      const x = g.input('x', 256)
      const up = g.linear('c', x, 256, { bias: true })
      g.output('y', g.geglu(g.linear('a', x, 256), up))
    })
    expect(graph.steps[0]).toMatchObject({ weights: { weight: [2, 0], bias: [-1, 1] }, attributes: { epilogue: 'geglu' } })
  })
  it('keeps what somebody else reads', () => {
    const graph = gated((g) => {
      const x = g.input('x', 256)
      const gate = g.linear('a', x, 256)
      g.output('gate', gate)
      g.output('y', g.swiglu(gate, g.linear('b', x, 256)))
    })
    expect(opsOf(graph)).toEqual(['linear', 'swiglu'])
  })
  it('keeps an activation of one value with itself', () => {
    const graph = gated((g) => {
      const gate = g.linear('a', g.input('x', 256), 256)
      g.output('y', g.swiglu(gate, gate))
    })
    expect(opsOf(graph)).toEqual(['linear', 'swiglu'])
  })
})

describe('foldResidual', () => {
  it('makes the add the epilogue, on either side', () => {
    for (const swapped of [false, true]) {
      const graph = foldResidual(
        graphOf((g) => {
          const x = g.input('x', 256)
          const y = g.linear('a', x, 256)
          g.output('y', swapped ? g.add(y, x) : g.add(x, y))
        }),
      )
      expect(graph.steps).toMatchObject([
        { op: 'linear', inputs: { x: [0], residual: 0 }, outputs: { out: [2] }, attributes: { epilogue: 'add' } },
      ])
      checkGraph(graph)
    }
  })
  it('folds one of two linears that are added', () => {
    const graph = foldResidual(
      graphOf((g) => {
        const x = g.input('x', 256)
        g.output('y', g.add(g.linear('a', x, 256), g.linear('b', x, 256)))
      }),
    )
    expect(opsOf(graph)).toEqual(['linear', 'linear'])
    checkGraph(graph)
  })
  it('keeps an add whose product is read elsewhere, or is added to itself', () => {
    const read = graphOf((g) => {
      const x = g.input('x', 256)
      const y = g.linear('a', x, 256)
      g.output('linear', y)
      g.output('y', g.add(x, y))
    })
    const doubled = graphOf((g) => {
      const y = g.linear('a', g.input('x', 256), 256)
      g.output('y', g.add(y, y))
    })
    for (const graph of [read, doubled]) expect(foldResidual(graph).steps).toEqual(graph.steps)
  })
})

describe('foldScale', () => {
  it('multiplies the embedding', () => {
    const graph = foldScale(graphOf((g) => g.output('y', g.scale(g.embedding('embed', g.tokens, 256), 16))))
    expect(graph.steps).toMatchObject([{ op: 'embedding', attributes: { scale: 16 } }])
  })
  it('keeps the scale of anything else', () => {
    const graph = graphOf((g) => g.output('y', g.scale(g.silu(g.input('x', 256)), 2)))
    expect(foldScale(graph)).toEqual(graph)
  })
})

describe('quantizeActivations', () => {
  it('quantizes once per input and type, for all readers', () => {
    const graph = quantizeActivations(
      graphOf((g) => {
        const x = g.silu(g.input('x', 256))
        for (const name of ['a', 'd', 'b', 'c']) g.output(name, g.linear(name, x, 256))
      }),
    )
    expect(opsOf(graph)).toEqual(['silu', 'quantize', 'linear', 'linear', 'quantize', 'linear', 'linear'])
    const inputs = graph.steps.filter((step) => step.op === 'linear').map((step) => typesOf(graph, step.inputs.x))
    expect(inputs).toEqual([['a8_32'], ['a8_32'], ['a8_256'], ['f32']])
    checkGraph(graph)
  })
  it('gives a group every type that its weights read', () => {
    const graph = quantizeActivations(
      groupLinears(
        graphOf((g) => {
          const x = g.silu(g.input('x', 256))
          for (const name of ['b', 'a', 'c']) g.output(name, g.linear(name, x, 256))
        }),
      ),
    )
    expect(typesOf(graph, graph.steps.at(-1)!.inputs.x)).toEqual(['f32', 'a8_32', 'a8_256'])
  })
  it('lets a norm write the int8 form, and nothing else where nobody reads f32', () => {
    const norm = (more: (g: GraphBuilder, x: ReturnType<GraphBuilder['silu']>) => void) => {
      const graph = quantizeActivations(
        graphOf((g) => {
          const x = g.rmsNorm('norm', g.input('x', 256), 1e-6)
          g.output('a', g.linear('a', x, 256))
          more(g, x)
        }),
      )
      expect(opsOf(graph)).not.toContain('quantize')
      checkGraph(graph)
      return typesOf(graph, graph.steps[0]!.outputs.out)
    }
    expect(norm(() => {})).toEqual(['a8_32'])
    expect(norm((g, x) => g.output('b', g.linear('b', x, 256)))).toEqual(['a8_32', 'a8_256'])
    expect(norm((g, x) => g.output('c', g.linear('c', x, 256)))).toEqual(['f32', 'a8_32'])
    expect(norm((g, x) => g.output('x', x))).toEqual(['f32', 'a8_32'])
  })
  it('does not fuse into a norm of groups', () => {
    const graph = quantizeActivations(
      graphOf((g) => g.output('a', g.linear('a', g.rmsNorm('heads', g.input('x', 256), 1e-6, 64), 256))),
    )
    expect(opsOf(graph)).toEqual(['rmsNorm', 'quantize', 'linear'])
  })
})

describe('removeDead', () => {
  it('drops what nobody reads and numbers the rest', () => {
    const graph = removeDead(
      graphOf((g) => {
        const x = g.input('x', 256)
        g.silu(g.linear('a', x, 256))
        g.output('b', g.linear('b', x, 256))
      }),
    )
    expect(graph.steps).toMatchObject([{ op: 'linear', weights: { weight: [0] }, outputs: { out: [1] } }])
    expect(graph.weights.map(({ name }) => name)).toEqual(['b.weight'])
    expect(graph.values.map(({ id }) => id)).toEqual([0, 1])
  })
  it('keeps writes to the cache', () => {
    const graph = graphOf((g) => {
      const x = g.input('x', 64)
      g.output('y', g.attention({ layer: 0, q: x, k: x, v: x, headDim: 16 }))
    })
    expect(opsOf(removeDead(graph))).toEqual(['kvWrite', 'attention'])
  })
})

describe('placeHead', () => {
  it('moves what runs on output rows behind everything else', () => {
    const { graph, headStep } = placeHead(
      graphOf((g) => {
        const x = g.input('x', 256)
        const n = g.silu(g.outputRows(x))
        g.output('x', g.silu(x))
        g.output('n', n)
      }),
    )
    expect(opsOf(graph)).toEqual(['silu', 'outputRows', 'silu'])
    expect(headStep).toBe(1)
  })
})

describe('groupKvLayers', () => {
  const layers = (windows: readonly number[]) =>
    groupKvLayers(
      graphOf((g) => {
        const x = g.input('x', 64)
        windows.forEach((window, layer) => g.output(`${layer}`, g.attention({ layer, q: x, k: x, v: x, headDim: 16, window })))
      }),
    )
  it('makes one group of layers that are alike', () => {
    expect(layers([0, 0, 0])).toEqual({ nKvHeads: 4, headDim: 16, groups: [{ layers: [0, 1, 2], window: 0 }] })
  })
  it('cuts groups to one size, by window', () => {
    expect(layers([8, 8, 0, 8, 8, 0]).groups).toEqual([
      { layers: [0, 1], window: 8 },
      { layers: [3, 4], window: 8 },
      { layers: [2, 5], window: 0 },
    ])
    expect(layers([8, 8, 8, 0, 0]).groups.map(({ layers }) => layers.length)).toEqual([1, 1, 1, 1, 1])
  })
  it('has no groups without attention', () => expect(layers([])).toEqual({ nKvHeads: 0, headDim: 0, groups: [] }))
  it('refuses layers whose caches differ in size', () => {
    const graph = graphOf((g) => {
      const [wide, narrow] = [g.input('wide', 64), g.input('narrow', 32)]
      g.output('0', g.attention({ layer: 0, q: wide, k: wide, v: wide, headDim: 16 }))
      g.output('1', g.attention({ layer: 1, q: wide, k: narrow, v: narrow, headDim: 16 }))
    })
    expect(() => groupKvLayers(graph)).toThrow(expect.objectContaining({ code: 'OPERATION_UNSUPPORTED' }))
  })
})

describe('decompose', () => {
  it('leaves single ops of one weight, and no epilogue', () => {
    const graph = graphOf((g) => {
      const x = g.input('x', 256)
      const gated = g.swiglu(g.linear('a', x, 256), g.linear('b', x, 256))
      g.output('y', g.add(x, g.linear('d', g.rmsNorm('norm', gated, 1e-6), 256)))
    })
    const header = { architecture: 'test', vocabSize: 0, contextLength: 0, files: [] }
    const plan = compileGraph(graph, header)
    expect(opsOf(plan)).toEqual(['quantize', 'linear', 'rmsNorm', 'linear'])
    const simple = decompose({ ...plan, values: plan.values.map((value, id) => ({ ...value, id })) })
    expect(opsOf(simple)).toEqual(['quantize', 'linear', 'linear', 'silu', 'mul', 'rmsNorm', 'quantize', 'linear', 'add'])
    checkGraph(simple)
  })
})

describe('checkGraph', () => {
  const sound = graphOf((g) => g.output('y', g.silu(g.input('x', 8))))
  const broken = (changes: Partial<Graph>) => expect(() => checkGraph({ ...sound, ...changes }))
  const code = expect.objectContaining({ code: 'PLAN_INVALID' })
  it('accepts a sound graph', () => expect(() => checkGraph(sound)).not.toThrow())
  it('refuses a read before the write', () => broken({ inputs: [] }).toThrow(code))
  it('refuses a value written twice', () => broken({ steps: [...sound.steps, ...sound.steps] }).toThrow(code))
  it('refuses another shape than the op gives', () => {
    broken({ values: sound.values.map((value) => (value.id === 1 ? { ...value, width: 9 } : value)) }).toThrow(code)
  })
  it('refuses an output that no step writes', () => broken({ steps: [] }).toThrow(code))
  it('refuses an unknown op', () => broken({ steps: [{ ...sound.steps[0]!, op: 'constructor' }] }).toThrow(code))
})

describe('joinLabels', () => {
  it('puts what differs into braces', () => {
    expect(joinLabels(['l.0.q_proj', 'l.0.k_proj', 'l.0.v_proj'])).toBe('l.0.{q,k,v}_proj')
    expect(joinLabels(['a', 'b'])).toBe('{a,b}')
    expect(joinLabels(['same', 'same'])).toBe('same')
  })
})
