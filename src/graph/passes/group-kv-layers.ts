/** Decides which layers share a block table: those with the same window, in groups of one size, so that all pages are alike. */
import { InfernodeError } from '../../errors.js'
import type { Graph } from '../graph.js'
import type { KvGroup, Plan } from '../plan.js'

/**
 * Layers of one window give their pages back at the same time. Group sizes are the greatest common divisor of the numbers of
 * layers per window: 15 sliding and 3 full layers make five groups and one, of three layers each.
 */
export function groupKvLayers(graph: Graph): Plan['kv'] {
  const byWindow = new Map<number, number[]>()
  const widths = new Map<number, number>()
  const shapes = new Set<string>()
  let nKvHeads = 0
  let headDim = 0
  for (const step of graph.steps) {
    const layer = step.attributes.layer as number
    if (step.op === 'kvWrite') widths.set(layer, graph.values[step.inputs.k as number]!.width)
    if (step.op !== 'attention') continue
    const window = step.attributes.window as number
    byWindow.set(window, [...(byWindow.get(window) ?? []), layer])
    headDim = step.attributes.headDim as number
    nKvHeads = (widths.get(layer) ?? 0) / headDim
    shapes.add(`${nKvHeads} × ${headDim}`)
  }
  if (shapes.size > 1) {
    throw new InfernodeError(
      'OPERATION_UNSUPPORTED',
      `A cache with layers of ${[...shapes].join(' and ')} values`,
      'this version',
    )
  }
  const size = [...byWindow.values()].reduce((divisor, layers) => greatestCommonDivisor(divisor, layers.length), 0)
  const groups: KvGroup[] = []
  for (const [window, layers] of byWindow) {
    for (let i = 0; i < layers.length; i += size) groups.push({ layers: layers.slice(i, i + size), window })
  }
  return { nKvHeads, headDim, groups }
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b)
}
