/** The add of a residual stream to a linear's result becomes the linear's epilogue: one pass over memory less. */
import { countReaders, findProducers, type Graph, type GraphStep, listOf } from '../graph.js'

/**
 * Only where the linear has one weight and nobody else reads its result. The step stands where the add was: both inputs
 * exist there.
 */
export function foldResidual(graph: Graph): Graph {
  const readers = countReaders(graph)
  const producers = findProducers(graph)
  const steps: (GraphStep | null)[] = [...graph.steps]
  graph.steps.forEach((step, index) => {
    if (step.op !== 'add') return
    const a = step.inputs.a as number
    const b = step.inputs.b as number
    // b first: architectures write x + f(x), and folding the later of two linears keeps the other's result short-lived.
    for (const [product, residual] of [
      [b, a],
      [a, b],
    ] as const) {
      const at = producers[product]!
      const linear = steps[at]
      if (linear?.op !== 'linear' || linear.attributes.epilogue !== 'none' || readers[product] !== 1) continue
      if (listOf(linear.weights.weight).length !== 1) continue
      steps[index] = {
        ...linear,
        label: `${linear.label} + ${step.op}`,
        inputs: { ...linear.inputs, residual },
        outputs: { out: listOf(step.outputs.out) },
        attributes: { epilogue: 'add' },
      }
      steps[at] = null
      return
    }
  })
  return { ...graph, steps: steps.filter((step) => step !== null) }
}
