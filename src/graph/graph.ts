/**
 * A graph: steps over numbered values and weights, as plain data. The builder makes it, passes rewrite it, planning turns
 * it into a plan.
 */
import type { ActivationType } from '../tensor-types.js'
import type { Operands, PlanStep, PlanWeight, RowsOf } from './plan.js'

/** What a step computes: [rows, width]. `id` is its place in `Graph.values`. */
export interface Value {
  readonly id: number
  readonly name: string
  readonly rows: RowsOf
  readonly width: number
  readonly type: ActivationType
}

export type GraphStep = PlanStep

/** Steps are in an order in which they can run. Passes never change one in place: they return another graph. */
export interface Graph {
  readonly values: readonly Value[]
  readonly weights: readonly PlanWeight[]
  readonly steps: readonly GraphStep[]
  readonly inputs: readonly { readonly name: string; readonly value: number }[]
  readonly outputs: readonly { readonly name: string; readonly value: number }[]
}

/** In a list: this element is absent (one of several biases). Absent operands that are not lists have no key at all. */
export const absent = -1

/** An operand as a list: one element, several, or none where it is absent. */
export function listOf(operand: number | readonly number[] | undefined): readonly number[] {
  return operand === undefined ? [] : typeof operand === 'number' ? [operand] : operand
}

/** All indices of a step's operands of one role, without absent ones. */
export function idsOf(operands: Operands): number[] {
  return Object.values(operands)
    .flatMap(listOf)
    .filter((id) => id !== absent)
}

/** How often each value is read: by steps, and by the caller where it is an output of the graph. Index: value. */
export function countReaders(graph: Graph): number[] {
  const readers = graph.values.map(() => 0)
  for (const step of graph.steps) for (const id of idsOf(step.inputs)) readers[id]!++
  for (const output of graph.outputs) readers[output.value]!++
  return readers
}

/** The index of the step that writes each value; -1 for values that the caller feeds. Index: value. */
export function findProducers(graph: Graph): number[] {
  const producers = graph.values.map(() => -1)
  graph.steps.forEach((step, index) => {
    for (const id of idsOf(step.outputs)) producers[id] = index
  })
  return producers
}

/**
 * One label for steps that became one: what differs goes into braces, whole words at a time. 'a.q_proj', 'a.k_proj' →
 * 'a.{q,k}_proj'.
 */
export function joinLabels(labels: readonly string[]): string {
  if (labels.every((label) => label === labels[0])) return labels[0] ?? ''
  const words = labels.map((label) => label.split(/(?<=[._])|(?=_)/))
  const shortest = Math.min(...words.map((word) => word.length))
  const same = (pick: (word: string[]) => string | undefined) => words.every((word) => pick(word) === pick(words[0]!))
  let head = 0
  while (head < shortest - 1 && same((word) => word[head])) head++
  let tail = 0
  while (tail < shortest - head - 1 && same((word) => word[word.length - 1 - tail])) tail++
  const middle = words.map((word) => word.slice(head, word.length - tail).join(''))
  return `${words[0]!.slice(0, head).join('')}{${middle.join(',')}}${words[0]!.slice(words[0]!.length - tail).join('')}`
}
