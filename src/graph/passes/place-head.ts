/**
 * Moves every step on output rows to the end, so that the engine can run them alone, for one slice of the outputs after
 * another.
 */
import { type Graph, idsOf } from '../graph.js'

/** Nothing of the head is read by the other steps (only `outputRows` crosses, one way), so both keep their order. */
export function placeHead(graph: Graph): { graph: Graph; headStep: number } {
  const inHead = (step: Graph['steps'][number]) => idsOf(step.outputs).some((id) => graph.values[id]!.rows === 'outputs')
  const body = graph.steps.filter((step) => !inHead(step))
  return { graph: { ...graph, steps: [...body, ...graph.steps.filter(inHead)] }, headStep: body.length }
}
