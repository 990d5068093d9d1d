/**
 * Gives every value a place in the arena of its kind of rows; values that never live at the same time share one. The last
 * pass.
 */
import { rowBytes } from '../../tensor-types.js'
import { findProducers, type Graph, idsOf, listOf } from '../graph.js'
import { opRow } from '../ops.js'
import type { PlanValue, RowsOf } from '../plan.js'

/** A cache line, and the widest vector that any kernel loads. */
const alignment = 64

/** One place for one value, or for several that take it over from each other in place. */
interface Buffer {
  readonly rows: RowsOf
  readonly bytes: number
  /** Steps that write it first and read it last; another buffer may have the place before and after, not in between. */
  readonly from: number
  to: number
  offset: number
}

export function planMemory(graph: Graph): { values: PlanValue[]; bytesPerRow: Record<RowsOf, number> } {
  const strides = graph.values.map(({ type, width }) => Math.ceil(rowBytes(type, width) / alignment) * alignment)
  const buffers = shareInPlace(graph, strides)
  const bytesPerRow = { tokens: 0, outputs: 0 }
  const placed: Buffer[] = []
  // Large ones first: small ones fit into the gaps that they leave.
  const bySize = [...new Set(buffers)].sort((a, b) => b.bytes - a.bytes || a.from - b.from)
  for (const buffer of bySize) {
    buffer.offset = bestGap(buffer, placed)
    bytesPerRow[buffer.rows] = Math.max(bytesPerRow[buffer.rows], buffer.offset + buffer.bytes)
    placed.push(buffer)
  }
  const values = graph.values.map(({ name, rows, width, type }, id) => {
    return { name, rows, width, type, offset: buffers[id]!.offset, stride: strides[id]! }
  })
  return { values, bytesPerRow }
}

/** The buffer of each value. An output takes over an input's where the op allows it and nobody needs the input afterwards. */
function shareInPlace(graph: Graph, strides: readonly number[]): Buffer[] {
  const producers = findProducers(graph)
  const lastReads = graph.values.map((_, id) => producers[id]!)
  graph.steps.forEach((step, index) => {
    for (const id of idsOf(step.inputs)) lastReads[id] = index
  })
  // What the caller gets is read after the last step.
  for (const output of graph.outputs) lastReads[output.value] = graph.steps.length

  const buffers: Buffer[] = []
  const ofValue = (id: number, from: number): Buffer => ({
    rows: graph.values[id]!.rows,
    bytes: strides[id]!,
    from,
    to: lastReads[id]!,
    offset: 0,
  })
  for (const input of graph.inputs) buffers[input.value] = ofValue(input.value, -1)
  graph.steps.forEach((step, index) => {
    const out = listOf(step.outputs.out)
    const replaceable = opRow(step.op)
      .inPlace.flatMap((name) => listOf(step.inputs[name]))
      .find((id) => {
        const value = graph.values[id]!
        const same = value.rows === graph.values[out[0]!]!.rows && value.type === 'f32' && strides[id] === strides[out[0]!]
        const otherwiseRead = idsOf(step.inputs).filter((other) => other === id).length > 1
        // A host input is filled by the caller, who may want to run the same step twice.
        return same && lastReads[id] === index && !otherwiseRead && producers[id]! >= 0
      })
    if (replaceable !== undefined && out.length === 1 && graph.values[out[0]!]!.type === 'f32') {
      buffers[out[0]!] = buffers[replaceable]!
      buffers[out[0]!]!.to = Math.max(buffers[out[0]!]!.to, lastReads[out[0]!]!)
    } else for (const id of out) buffers[id] = ofValue(id, index)
  })
  return buffers
}

/** The smallest gap that holds the buffer between those which live at the same time; behind them all where there is none. */
function bestGap(buffer: Buffer, placed: readonly Buffer[]): number {
  const neighbours = placed
    .filter((other) => other.rows === buffer.rows && other.from <= buffer.to && buffer.from <= other.to)
    .sort((a, b) => a.offset - b.offset)
  let best = -1
  let smallest = Infinity
  let free = 0
  for (const { offset, bytes } of neighbours) {
    const gap = offset - free
    if (gap >= buffer.bytes && gap < smallest) [best, smallest] = [free, gap]
    free = Math.max(free, offset + bytes)
  }
  return best >= 0 ? best : free
}
