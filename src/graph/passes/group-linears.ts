/**
 * Linears that read the same input become one step over a list of weights: q, k and v; gate and up. Nothing is
 * concatenated.
 */
import { absent, type Graph, type GraphStep, joinLabels, listOf } from '../graph.js'
import { listCapacity } from '../ops.js'

/** The group stands where its first linear stood: its input exists there, and weights always do. */
export function groupLinears(graph: Graph): Graph {
  const groups: { at: number; members: GraphStep[] }[] = []
  const open = new Map<number, (typeof groups)[number]>()
  const steps: GraphStep[] = []
  for (const step of graph.steps) {
    const x = listOf(step.inputs.x)
    const groupable = step.op === 'linear' && step.attributes.epilogue === 'none' && x.length === 1
    if (!groupable) {
      steps.push(step)
      continue
    }
    const group = open.get(x[0]!)
    const size = group?.members.reduce((n, member) => n + listOf(member.weights.weight).length, 0) ?? 0
    if (group && size + listOf(step.weights.weight).length <= listCapacity) {
      group.members.push(step)
      continue
    }
    const opened = { at: steps.length, members: [step] }
    groups.push(opened)
    open.set(x[0]!, opened)
    steps.push(step)
  }
  for (const { at, members } of groups) if (members.length > 1) steps[at] = merge(members)
  return { ...graph, steps }
}

function merge(members: readonly GraphStep[]): GraphStep {
  const weight = members.flatMap((step) => listOf(step.weights.weight))
  const bias = members.flatMap((step) => listOf(step.weights.weight).map((_, i) => listOf(step.weights.bias)[i] ?? absent))
  return {
    ...members[0]!,
    label: joinLabels(members.map((step) => step.label)),
    weights: bias.some((id) => id !== absent) ? { weight, bias } : { weight },
    outputs: { out: members.flatMap((step) => listOf(step.outputs.out)) },
  }
}
