/**
 * Folds a plan's repeated layers for the eye: layers with the same steps become one section, and what differs between them
 * is counted.
 */
import { absent, findProducers, idsOf, listOf } from './graph.js'
import { describeWeight, formatRanges, weightBytes } from './format-plan.js'
import type { Plan, PlanStep } from './plan.js'

export interface FoldedNode {
  /** The step that stands for its copies in the other layers. */
  readonly index: number
  readonly step: PlanStep
  /** Its label without the layer's prefix. */
  readonly label: string
  /** Per weight: its types and shapes over all layers with how many layers have them, and the bytes of all layers together. */
  readonly weights: readonly { readonly kinds: string; readonly types: readonly string[]; readonly bytes: number }[]
  /** Attributes over all layers: 'window 512 (15×), 0 (3×)'. */
  readonly attributes: readonly string[]
}

export interface FoldedSection {
  readonly title: string
  readonly layers: readonly number[]
  readonly nodes: readonly FoldedNode[]
}

/** What comes before the layers, the layers in runs of equal structure, and what comes after them. */
export function foldLayers(plan: Plan): FoldedSection[] {
  const before: number[] = []
  const after: number[] = []
  const layers = new Map<number, number[]>()
  const lastInLayer = plan.steps.findLastIndex((step) => layerOf(step.label) !== null)
  plan.steps.forEach((step, index) => {
    const layer = layerOf(step.label)?.layer
    if (layer === undefined) (index < lastInLayer ? before : after).push(index)
    else layers.set(layer, [...(layers.get(layer) ?? []), index])
  })
  const structure = (steps: readonly number[]) =>
    steps.map((index) => `${plan.steps[index]!.op} ${shortLabel(plan, index)}`).join('\n')
  const runs: { layers: number[]; copies: number[][] }[] = []
  for (const [layer, steps] of layers) {
    const run = runs.at(-1)
    if (run && structure(run.copies[0]!) === structure(steps)) {
      run.layers.push(layer)
      run.copies.push(steps)
    } else runs.push({ layers: [layer], copies: [steps] })
  }
  const single = (title: string, steps: readonly number[]) => ({ title, layers: [], nodes: foldCopies(plan, [steps]) })
  return [
    single('input', before),
    ...runs.map(({ layers, copies }) => ({
      title: layers.length > 1 ? `layers ${formatRanges(layers)}  ×${layers.length}` : `layer ${layers[0]}`,
      layers,
      nodes: foldCopies(plan, copies),
    })),
    single('head', after),
  ].filter(({ nodes }) => nodes.length > 0)
}

function foldCopies(plan: Plan, copies: readonly (readonly number[])[]): FoldedNode[] {
  return copies[0]!.map((index, place) => {
    const step = plan.steps[index]!
    const all = copies.map((steps) => plan.steps[steps[place]!]!)
    const weightsOf = (copy: PlanStep) => idsOf(copy.weights).map((id) => plan.weights[id]!)
    const weights = weightsOf(step).map((_, i) => {
      const same = all.flatMap((copy) => weightsOf(copy)[i] ?? [])
      return {
        kinds: count(same.map(describeWeight)),
        types: [...new Set(same.map(({ type }) => type))],
        bytes: same.reduce((sum, weight) => sum + weightBytes(weight), 0),
      }
    })
    const attributes = Object.keys(step.attributes)
      .filter((name) => name !== 'layer')
      .map((name) => `${name} ${count(all.map((copy) => shown(copy.attributes[name]!)))}`)
    // Whose angles: a line from the top of the model to every layer would say it worse.
    if (step.op === 'rope')
      attributes.unshift(`angles ${count(all.map((copy) => plan.values[copy.inputs.table as number]!.name))}`)
    return { index, step, label: shortLabel(plan, index), weights, attributes }
  })
}

/**
 * The nodes of a section that a node reads from, and whether anything comes from outside it. Attention reads what kvWrite
 * stored.
 */
export function sourcesOf(
  plan: Plan,
  section: FoldedSection,
  node: FoldedNode,
): { nodes: FoldedNode[]; stored: FoldedNode | null; outside: number[] } {
  const producers = findProducers({ ...plan, values: plan.values.map((value, id) => ({ ...value, id })) })
  const within = new Map(section.nodes.map((other) => [other.index, other]))
  const nodes = new Set<FoldedNode>()
  const outside: number[] = []
  for (const id of Object.values(node.step.inputs)
    .flatMap(listOf)
    .filter((id) => id !== absent)) {
    const source = within.get(producers[id]!)
    if (source) nodes.add(source)
    else outside.push(id)
  }
  const { op, attributes } = node.step
  const writes = ({ step }: FoldedNode) => step.op === 'kvWrite' && step.attributes.layer === attributes.layer
  return { nodes: [...nodes], stored: op === 'attention' ? (section.nodes.find(writes) ?? null) : null, outside }
}

function layerOf(label: string): { layer: number; rest: string } | null {
  const parts = /\blayers\.(\d+)\.(.*)$/.exec(label)
  return parts && { layer: Number(parts[1]), rest: parts[2]! }
}

function shortLabel(plan: Plan, index: number): string {
  const { label } = plan.steps[index]!
  return layerOf(label)?.rest ?? label
}

const shown = (value: number | string) => String(typeof value === 'number' ? Number(value.toPrecision(6)) : value)

/** 'a' where all are equal; else 'a (15×), b (3×)'. */
function count(texts: readonly string[]): string {
  const counts = new Map<string, number>()
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1)
  return counts.size === 1 ? texts[0]! : [...counts].map(([text, n]) => `${text} (${n}×)`).join(', ')
}
