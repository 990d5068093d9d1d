/** A plan for people to read in a terminal: a header, then one aligned line per step. */
import { rowBytes } from '../tensor-types.js'
import { absent, listOf } from './graph.js'
import type { KvGroup, Operands, Plan, PlanWeight } from './plan.js'

/**
 * Lines without a newline at the end. Values read `v12 a8_32[T, 256] @1024`: number, type, shape, bytes per row before its
 * place.
 */
export function formatPlan(plan: Plan): string {
  const header = ['step', 'op', 'from', 'reads', 'weights', 'writes', 'attributes']
  const rows = plan.steps.map((step, index) => [
    String(index),
    step.op,
    step.label,
    each(step.inputs, (id) => `v${id}`),
    each(step.weights, (id) => describeWeight(plan.weights[id]!)),
    each(step.outputs, (id) => describeValue(plan, id)),
    Object.entries(step.attributes)
      .map(([name, value]) => `${name} ${typeof value === 'number' ? round(value) : value}`)
      .join(', '),
  ])
  const widths = header.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]!.length)))
  const align = (row: readonly string[]) => {
    return row
      .map((cell, column) => (column === 0 ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)))
      .join('  ')
      .trimEnd()
  }
  const lines = rows.map(align)
  const head = lines.length > plan.headStep ? [`${' '.repeat(widths[0]!)}  – from here on, one row per output –`] : []
  return [
    ...summarizePlan(plan),
    '',
    align(header),
    ...lines.slice(0, plan.headStep),
    ...head,
    ...lines.slice(plan.headStep),
    '',
    ...plan.outputs.map(({ name, value }) => `${name} = ${describeValue(plan, value)}`),
  ].join('\n')
}

/** What a plan costs, in a few lines. */
export function summarizePlan(plan: Plan): string[] {
  const { nKvHeads, headDim, groups } = plan.kv
  const layers = groups.flatMap((group) => group.layers).length
  const bytes = plan.weights.reduce((sum, weight) => sum + weightBytes(weight), 0)
  return [
    [
      `${plan.architecture}: ${layers} layers`,
      `vocabulary ${plan.vocabSize}`,
      `context ${plan.contextLength}`,
      `${plan.steps.length} steps`,
    ].join(', '),
    `weights: ${plan.weights.length} tensors, ${formatBytes(bytes)}`,
    `memory: ${plan.bytesPerRow.tokens} bytes per token of a step, ${plan.bytesPerRow.outputs} per output row`,
    `cache: ${nKvHeads} KV heads of ${headDim}, ${groups.map(describeGroup).join('; ') || 'no layers'}`,
  ]
}

export function weightBytes({ type, shape }: PlanWeight): number {
  return rowBytes(
    type,
    shape.reduce((a, b) => a * b, 1),
  )
}

export function describeWeight({ type, shape }: PlanWeight): string {
  return `${type}[${shape.join(', ')}]`
}

export function formatBytes(bytes: number): string {
  const units = ['bytes', 'KB', 'MB', 'GB', 'TB']
  let unit = 0
  while (bytes >= 1000 && unit < units.length - 1) {
    bytes /= 1000
    unit++
  }
  return `${unit === 0 ? bytes : bytes.toPrecision(3)} ${units[unit]}`
}

/** 0, 1, 2, 6 → '0–2, 6' */
export function formatRanges(numbers: readonly number[]): string {
  const ranges: [number, number][] = []
  for (const n of numbers) {
    const last = ranges.at(-1)
    if (last && last[1] === n - 1) last[1] = n
    else ranges.push([n, n])
  }
  return ranges.map(([from, to]) => (from === to ? `${from}` : `${from}–${to}`)).join(', ')
}

function describeGroup({ layers, window }: KvGroup): string {
  return `layers ${formatRanges(layers)} ${window > 0 ? `see ${window} positions` : 'see all positions'}`
}

function describeValue(plan: Plan, id: number): string {
  const { rows, width, type, offset } = plan.values[id]!
  return `v${id} ${type}[${rows === 'tokens' ? 'T' : 'N'}, ${width}] @${offset}`
}

/** '–' for absent elements of a list; the operand's name only where a step has several. */
function each(operands: Operands, describe: (id: number) => string): string {
  const entries = Object.entries(operands)
  return entries
    .map(([name, operand]) => {
      const items = listOf(operand)
        .map((id) => (id === absent ? '–' : describe(id)))
        .join(' ')
      return entries.length > 1 ? `${name} ${items}` : items
    })
    .join(', ')
}

const round = (value: number) => String(Number(value.toPrecision(6)))
