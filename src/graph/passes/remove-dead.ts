/**
 * Drops steps whose results nobody reads, and values and weights that no step mentions; numbers the rest anew, in order of
 * use.
 */
import { absent, type Graph, type GraphStep, idsOf } from '../graph.js'
import type { Operands } from '../plan.js'

export function removeDead(graph: Graph): Graph {
  const alive = new Set(graph.outputs.map((output) => output.value))
  const kept: GraphStep[] = []
  for (const step of [...graph.steps].reverse()) {
    // Steps without outputs are run for what they do to the cache.
    const written = idsOf(step.outputs)
    if (written.length > 0 && !written.some((id) => alive.has(id))) continue
    for (const id of idsOf(step.inputs)) alive.add(id)
    kept.push(step)
  }
  kept.reverse()
  return renumber({ ...graph, steps: kept })
}

function renumber(graph: Graph): Graph {
  const values = new Map<number, number>()
  const weights = new Map<number, number>()
  const number = (numbers: Map<number, number>, id: number) => {
    if (id === absent) return absent
    if (!numbers.has(id)) numbers.set(id, numbers.size)
    return numbers.get(id)!
  }
  const rename = (operands: Operands, numbers: Map<number, number>): Operands =>
    Object.fromEntries(
      Object.entries(operands).map(([name, ids]) => [
        name,
        typeof ids === 'number' ? number(numbers, ids) : ids.map((id) => number(numbers, id)),
      ]),
    )
  const inputs = graph.inputs.map((input) => ({ ...input, value: number(values, input.value) }))
  const steps = graph.steps.map((step) => ({
    ...step,
    inputs: rename(step.inputs, values),
    weights: rename(step.weights, weights),
    outputs: rename(step.outputs, values),
  }))
  const outputs = graph.outputs.map((output) => ({ ...output, value: number(values, output.value) }))
  return {
    values: [...values.keys()].map((old, id) => ({ ...graph.values[old]!, id })),
    weights: [...weights.keys()].map((old) => graph.weights[old]!),
    steps,
    inputs,
    outputs,
  }
}
