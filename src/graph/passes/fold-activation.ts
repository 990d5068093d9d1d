/** swiglu and geglu of a grouped gate and up become the group's epilogue, so that neither is written to memory. */
import { absent, countReaders, findProducers, type Graph, type GraphStep, listOf } from '../graph.js'

/** Only where gate and up are the two outputs of one linear and nobody else reads them. The step stays where the linear was. */
export function foldActivation(graph: Graph): Graph {
  const readers = countReaders(graph)
  const producers = findProducers(graph)
  const steps: (GraphStep | null)[] = [...graph.steps]
  graph.steps.forEach((step, index) => {
    if (step.op !== 'swiglu' && step.op !== 'geglu') return
    const wanted = [...listOf(step.inputs.gate), ...listOf(step.inputs.up)]
    const at = producers[wanted[0]!]!
    const linear = steps[at]
    if (linear?.op !== 'linear' || linear.attributes.epilogue !== 'none') return
    const outs = listOf(linear.outputs.out)
    const places = wanted.map((id) => outs.indexOf(id))
    if (outs.length !== 2 || places.includes(-1) || places[0] === places[1] || wanted.some((id) => readers[id] !== 1)) return
    const bias = listOf(linear.weights.bias)
    steps[at] = {
      ...linear,
      label: `${linear.label} + ${step.op}`,
      weights: {
        weight: places.map((i) => listOf(linear.weights.weight)[i]!),
        ...(bias.length > 0 ? { bias: places.map((i) => bias[i] ?? absent) } : {}),
      },
      outputs: { out: listOf(step.outputs.out) },
      attributes: { epilogue: step.op },
    }
    steps[index] = null
  })
  return { ...graph, steps: steps.filter((step) => step !== null) }
}
