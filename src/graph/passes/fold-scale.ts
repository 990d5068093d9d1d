/** A scale of an embedding becomes the embedding's own factor. */
import { countReaders, findProducers, type Graph, type GraphStep, listOf } from '../graph.js'

export function foldScale(graph: Graph): Graph {
  const readers = countReaders(graph)
  const producers = findProducers(graph)
  const steps: (GraphStep | null)[] = [...graph.steps]
  graph.steps.forEach((step, index) => {
    if (step.op !== 'scale') return
    const x = listOf(step.inputs.x)[0]!
    const at = producers[x]!
    const embedding = steps[at]
    // A factor of another one would round twice where the graph rounds in two steps too, but not to the same bits.
    if (embedding?.op !== 'embedding' || embedding.attributes.scale !== 1 || readers[x] !== 1) return
    steps[at] = { ...embedding, outputs: step.outputs, attributes: { scale: step.attributes.factor! } }
    steps[index] = null
  })
  return { ...graph, steps: steps.filter((step) => step !== null) }
}
