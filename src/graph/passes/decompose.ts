/**
 * The inverse of fusing: every step in simple ops. For backends without a fused kernel, and to test that fusing changes
 * nothing.
 */
import type { Graph, GraphStep, Value } from '../graph.js'
import { opRow } from '../ops.js'

export function decompose(graph: Graph): Graph {
  const values: Value[] = [...graph.values]
  const d = {
    graph: { ...graph, values },
    like(value: number, name: string) {
      values.push({ ...values[value]!, id: values.length, name, type: 'f32' })
      return values.length - 1
    },
  }
  const expand = (step: GraphStep): readonly GraphStep[] => {
    const parts = opRow(step.op).decompose?.(step, d)
    return parts ? parts.flatMap(expand) : [step]
  }
  return { ...graph, steps: graph.steps.flatMap(expand), values }
}
