/**
 * Gives every linear its input in the types that its weights read; quantized once per input and type, shared by all
 * readers.
 */
import { type ActivationType, tensorTypes } from '../../tensor-types.js'
import { countReaders, findProducers, type Graph, type GraphStep, idsOf, listOf, type Value } from '../graph.js'
import { opRow } from '../ops.js'

const order: readonly ActivationType[] = ['f32', 'a8_32', 'a8_256']

/**
 * Where a norm of whole rows makes the input, it writes the int8 form itself; elsewhere a `quantize` step stands before the
 * first reader.
 */
export function quantizeActivations(graph: Graph): Graph {
  const values: Value[] = [...graph.values]
  const producers = findProducers(graph)
  /** Input → its int8 forms, by type. */
  const forms = new Map<number, Map<ActivationType, number>>()
  const norms = new Map<number, number[]>()
  const steps: GraphStep[] = []

  for (const step of graph.steps) {
    if (!readsTypes(step) || listOf(step.inputs.x).length !== 1) {
      steps.push(step)
      continue
    }
    const x = listOf(step.inputs.x)[0]!
    const types = typesOf(step, graph)
    const known = forms.get(x) ?? new Map<ActivationType, number>([['f32', x]])
    forms.set(x, known)
    const fresh = types.filter((type) => !known.has(type))
    for (const type of fresh) {
      known.set(type, values.length)
      values.push({ ...values[x]!, id: values.length, name: `${values[x]!.name} ${type}`, type })
    }
    if (fresh.length > 0) {
      const made = fresh.map((type) => known.get(type)!)
      const producer = producers[x]!
      if (producer >= 0 && normalizesRows(graph, graph.steps[producer]!)) norms.set(x, [...(norms.get(x) ?? []), ...made])
      else
        steps.push({
          op: 'quantize',
          label: values[x]!.name,
          inputs: { x },
          weights: {},
          outputs: { out: made },
          attributes: {},
        })
    }
    steps.push({ ...step, inputs: { ...step.inputs, x: types.map((type) => known.get(type)!) } })
  }
  return fuseIntoNorms({ ...graph, values, steps }, norms)
}

/** Products take their input in every type that their weights read. */
const readsTypes = (step: GraphStep) => opRow(step.op).inputs.x === 'list'

/** The activation types that the matrices of a step read, in the order of the tensor type table. */
function typesOf(step: GraphStep, graph: Graph): ActivationType[] {
  const matrices = idsOf(step.weights).map((id) => graph.weights[id]!).filter(({ shape }) => shape.length > 1)
  const wanted = new Set(matrices.map(({ type }) => tensorTypes[type].activations))
  return order.filter((type) => wanted.has(type))
}

/** A norm over groups inside a row has no whole blocks to quantize. */
function normalizesRows(graph: Graph, step: GraphStep): boolean {
  return (
    (step.op === 'rmsNorm' || step.op === 'layerNorm') &&
    graph.weights[step.weights.weight as number]!.shape[0] === graph.values[step.inputs.x as number]!.width
  )
}

function fuseIntoNorms(graph: Graph, norms: ReadonlyMap<number, readonly number[]>): Graph {
  const readers = countReaders(graph)
  const steps = graph.steps.map((step) => {
    const out = listOf(step.outputs.out)
    const made = norms.get(out[0] ?? -1)
    if (!made) return step
    const kept = readers[out[0]!]! > 0 ? out : []
    return { ...step, outputs: { out: [...kept, ...made].sort((a, b) => rank(graph, a) - rank(graph, b)) } }
  })
  return { ...graph, steps }
}

const rank = (graph: Graph, id: number) => order.indexOf(graph.values[id]!.type)
