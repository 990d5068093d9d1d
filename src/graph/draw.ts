/**
 * Draws a plan: a self-contained SVG, or a page around it. Repeated layers are drawn once, memory as the arena over the
 * steps.
 */
import { type FoldedNode, type FoldedSection, foldLayers, sourcesOf } from './fold-layers.js'
import { formatBytes, formatRanges, summarizePlan, weightBytes } from './format-plan.js'
import { findProducers, idsOf } from './graph.js'
import type { Plan } from './plan.js'

/** One colour per family of ops, for light and for dark pages. */
const families = {
  gather: { ops: ['embedding', 'outputRows'], light: '#0f9b8e', dark: '#3fd0c0' },
  linear: { ops: ['linear'], light: '#2f6fde', dark: '#6ea8ff' },
  norm: { ops: ['rmsNorm'], light: '#8250df', dark: '#b794ff' },
  position: { ops: ['rope', 'ropeTable'], light: '#c27c0e', dark: '#f2b64c' },
  attention: { ops: ['attention', 'kvWrite'], light: '#d1366f', dark: '#ff7fa8' },
  elementwise: { ops: ['add', 'mul', 'swiglu', 'geglu', 'silu', 'geluTanh', 'scale'], light: '#2b8a3e', dark: '#69db7c' },
  quantize: { ops: ['quantize'], light: '#667085', dark: '#a3adbd' },
} as const
const familyOf = (op: string) =>
  Object.entries(families).find(([, { ops }]) => (ops as readonly string[]).includes(op))?.[0] ?? 'elementwise'

const box = { width: 280, gapX: 28, gapY: 30, line: 17, top: 30 }
const graphWidth = 780
const panelX = graphWidth + 40
const panelWidth = 420

export function drawPlan(plan: Plan, kind: 'svg' | 'html'): string {
  const svg = drawSvg(plan)
  if (kind === 'svg') return `${svg}\n`
  const title = escape(`${plan.architecture}: plan`)
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title}</title>
<style>
body { margin: 0; background: light-dark(#f6f7f9, #14161a) }
main { max-width: ${panelX + panelWidth + 40}px; margin: 0 auto; padding: 16px; box-sizing: border-box }
svg { width: 100%; height: auto; display: block }
</style>
<main>
${svg}
</main>
</html>
`
}

function drawSvg(plan: Plan): string {
  const sections: string[] = []
  let y = 96
  for (const section of foldLayers(plan)) {
    const drawn = drawSection(plan, section, y)
    sections.push(drawn.svg)
    y = drawn.bottom + 34
  }
  const panels = drawPanels(plan)
  const height = Math.max(y + 10, panels.bottom + 30)
  const width = panelX + panelWidth + 30
  const summary = summarizePlan(plan)
  const size = `viewBox="0 0 ${width} ${height}" width="${width}" height="${height}"`
  return `<svg xmlns="http://www.w3.org/2000/svg" ${size} role="img" aria-label="${escape(summary[0]!)}">
<style>${css()}</style>
<defs>
<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0 0L8 4L0 8z" class="tip"/>
</marker>
</defs>
<rect width="100%" height="100%" class="page"/>
${text(40, 42, 'title', plan.architecture)}
${text(40, 66, 'note', `${summary[0]} · ${summary[1]}`)}
${sections.join('\n')}
${panels.svg}
</svg>`
}

// The graph

interface Placed {
  readonly node: FoldedNode
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
  /** The line under the weights, or empty. */
  readonly note: string
}

/** Nodes stand in rows by their distance from the section's entry; lines that skip rows run down the left side. */
function drawSection(plan: Plan, section: FoldedSection, top: number): { svg: string; bottom: number } {
  const sources = new Map(section.nodes.map((node) => [node, sourcesOf(plan, section, node)]))
  const ranks = new Map<FoldedNode, number>()
  for (const node of section.nodes) {
    const { nodes, stored } = sources.get(node)!
    ranks.set(node, Math.max(-1, ...[...nodes, ...(stored ? [stored] : [])].map((source) => ranks.get(source)!)) + 1)
  }
  const rows: FoldedNode[][] = []
  for (const [node, rank] of ranks) (rows[rank] ??= []).push(node)

  const placed = new Map<FoldedNode, Placed>()
  const middle = 60 + (graphWidth - 60) / 2
  let y = top + box.top + 12
  for (const row of rows) {
    const gaps = (row.length - 1) * box.gapX
    const width = Math.min(box.width, (graphWidth - 80 - gaps) / row.length)
    row.forEach((node, i) => {
      const x = middle + (i - row.length / 2) * (width + box.gapX) + box.gapX / 2 - (row.length > 2 ? 26 : 0)
      const note = noteOf(node)
      const height = 34 + box.line * (node.weights.length + (note ? 1 : 0))
      placed.set(node, { node, x, y, width, height, note })
    })
    y += Math.max(...row.map((node) => placed.get(node)!.height)) + box.gapY
  }
  const bottom = y - box.gapY + 18

  const lines: string[] = []
  let gutter = 0
  const enter: Placed = {
    node: section.nodes[0]!,
    x: middle - box.width / 2,
    y: top - 6,
    width: box.width,
    height: 6,
    note: '',
  }
  for (const [node, { nodes, stored, outside }] of sources) {
    const target = placed.get(node)!
    const connect = (source: Placed, rank: number, style: string) => {
      const skips = ranks.get(node)! - rank > 1
      lines.push(skips ? around(source, target, 52 + 16 * (gutter++ % 3), style) : straight(source, target, style))
    }
    for (const source of nodes) connect(placed.get(source)!, ranks.get(source)!, 'edge')
    if (stored) connect(placed.get(stored)!, ranks.get(stored)!, 'edge stored')
    // Tables of angles come from the top of the model; a word says so better than a line across the picture.
    if (outside.some((id) => !isTable(plan, id)) && top > 100) connect(enter, -1, 'edge')
  }
  const size = { y: top, width: graphWidth - 24, height: bottom - top, rx: 16 }
  const nodes = [...placed.values()].map((place) => drawNode(plan, place))
  return {
    svg: [
      section.layers.length > 1 ? rect({ ...size, x: 32, y: top + 8 }, 'stack') : '',
      rect({ ...size, x: 24 }, 'section'),
      text(graphWidth - 20, top + 26, 'heading end', section.title),
      ...lines,
      ...nodes,
    ].join('\n'),
    bottom,
  }
}

/** What varies between layers comes first: it is what nobody expects. */
function noteOf({ attributes }: FoldedNode): string {
  const said = attributes.filter((text) => text !== 'epilogue none')
  return said.sort((a, b) => Number(b.includes('×')) - Number(a.includes('×'))).join(' · ')
}

function drawNode(plan: Plan, { node, x, y, width, height, note }: Placed): string {
  const { step, label, weights, attributes } = node
  const details = [`step ${node.index}: ${step.op}`, step.label, ...weights.map(({ kinds }) => kinds), ...attributes]
  for (const id of idsOf(step.outputs)) {
    const { type, rows, width, offset, stride } = plan.values[id]!
    details.push(`writes ${type} [${rows === 'tokens' ? 'T' : 'N'}, ${width}] at ${offset}, ${stride} bytes a row`)
  }
  const rows = weights.flatMap(({ types, kinds, bytes }, i) => {
    const at = y + 42 + i * box.line
    const shape = /\[[^\]]*\]/.exec(kinds)?.[0] ?? ''
    const words = fit(`${types.join('/')} ${shape}`, (width - 90) / 7)
    return [text(x + 16, at, 'weight', words), text(x + width - 12, at, 'weight end', formatBytes(bytes))]
  })
  if (note) rows.push(text(x + 16, y + 42 + weights.length * box.line, 'small', fit(note, (width - 28) / 6.2)))
  return `<g class="node ${familyOf(step.op)}"><title>${escape(details.join('\n'))}</title>
${rect({ x, y, width, height, rx: 9 }, 'card')}
${rect({ x, y, width: 6, height, rx: 3 }, 'stripe')}
${text(x + 16, y + 22, 'op', step.op)}
${text(x + width - 12, y + 22, 'label end', fit(label, (width - 40 - 8.6 * step.op.length) / 7))}
${rows.join('\n')}
</g>`
}

const isTable = (plan: Plan, value: number) => plan.steps.some((step) => step.op === 'ropeTable' && step.outputs.out === value)

function straight(from: Placed, to: Placed, style: string): string {
  const [x1, y1, x2, y2] = [from.x + from.width / 2, from.y + from.height, to.x + to.width / 2, to.y - 1]
  const bend = (y2 - y1) / 2
  return `<path d="M${x1} ${y1}C${x1} ${y1 + bend} ${x2} ${y2 - bend} ${x2} ${y2}" class="${style}"/>`
}

/** Down the left side, past what stands between. */
function around(from: Placed, to: Placed, x: number, style: string): string {
  const [x1, y1] = [from.x + from.width / 2 - 24, from.y + from.height]
  const y2 = to.y + 17
  const out = `M${x1} ${y1}C${x1} ${y1 + 22} ${x} ${y1 + 6} ${x} ${y1 + 44}`
  const back = `L${x} ${y2 - 30}Q${x} ${y2} ${x + 30} ${y2}L${to.x - 1} ${y2}`
  return `<path d="${out}${back}" class="${style}"/>`
}

// The panels beside it

function drawPanels(plan: Plan): { svg: string; bottom: number } {
  const parts: string[] = []
  let y = 96
  for (const panel of [drawLegend, drawWeightTypes, drawCache, drawMemory]) {
    const drawn = panel(plan, y)
    parts.push(drawn.svg)
    y = drawn.bottom + 26
  }
  return { svg: parts.join('\n'), bottom: y }
}

type Panel = { svg: string; bottom: number }

const heading = (words: string, y: number) => text(panelX, y + 14, 'heading', words)

function drawLegend(_: Plan, top: number): Panel {
  const names = Object.keys(families)
  const items = names.map((name, i) => {
    const [x, y] = [panelX + (i % 4) * 105, top + 8 + Math.floor(i / 4) * 22]
    const patch = rect({ x, y, width: 11, height: 11, rx: 3 }, 'stripe')
    return `<g class="${name}">${patch}${text(x + 17, y + 10, 'small', name)}</g>`
  })
  return { svg: items.join('\n'), bottom: top + 44 }
}

/** Bytes of weights by tensor type, as one bar. */
function drawWeightTypes(plan: Plan, top: number): Panel {
  const bytes = new Map<string, number>()
  for (const weight of plan.weights) bytes.set(weight.type, (bytes.get(weight.type) ?? 0) + weightBytes(weight))
  const total = [...bytes.values()].reduce((a, b) => a + b, 0) || 1
  const sorted = [...bytes].sort((a, b) => b[1] - a[1])
  let x = panelX
  const bars = sorted.map(([type, n], i) => {
    const width = (n / total) * panelWidth
    const place = { x, y: top + 26, width: Math.max(0.5, width - 1.5), height: 22, rx: 3 }
    const bar = `<g opacity="${(1 - i * 0.13).toFixed(2)}">${rect(place, 'linear stripe', `${type}: ${formatBytes(n)}`)}</g>`
    x += width
    return bar
  })
  const words = sorted.map(([type, n], i) => {
    return text(panelX + (i % 3) * 140, top + 68 + Math.floor(i / 3) * 18, 'weight', `${type} ${formatBytes(n)}`)
  })
  return {
    svg: [heading(`weights: ${formatBytes(total)}`, top), ...bars, ...words].join('\n'),
    bottom: top + 66 + Math.ceil(sorted.length / 3) * 18,
  }
}

/** A square per layer: filled where it sees everything, striped by its group where a window lets pages go. */
function drawCache(plan: Plan, top: number): Panel {
  const { groups, nKvHeads, headDim } = plan.kv
  const perRow = Math.floor(panelWidth / 22)
  const layers = groups.flatMap(({ layers, window }, group) => layers.map((layer) => ({ layer, window, group })))
  const squares = layers.map(({ layer, window, group }) => {
    const [x, y] = [panelX + (layer % perRow) * 22, top + 28 + Math.floor(layer / perRow) * 22]
    const says = `layer ${layer}, block table ${group}: ${window > 0 ? `the last ${window} positions` : 'all positions'}`
    const square = rect({ x, y, width: 18, height: 18, rx: 4 }, window > 0 ? 'window' : 'stripe', says)
    return `<g class="attention">${square}${text(x + 9, y + 13, window > 0 ? 'digit' : 'digit full', String(layer))}</g>`
  })
  const bottom = top + 28 + Math.ceil(layers.length / perRow) * 22
  const windows = [...new Set(groups.map(({ window }) => window))].sort((a, b) => b - a)
  const words = windows.map((window, i) => {
    const own = layers
      .filter((layer) => layer.window === window)
      .map(({ layer }) => layer)
      .sort((a, b) => a - b)
    const words = `${window > 0 ? `window ${window}` : 'all positions'}: layers ${formatRanges(own)}`
    return text(panelX, bottom + 16 + i * 17, 'small', fit(words, 74))
  })
  const title = `cache: ${nKvHeads} KV heads × ${headDim}, ${groups.length} block tables`
  return { svg: [heading(title, top), ...squares, ...words].join('\n'), bottom: bottom + 10 + windows.length * 17 }
}

/** The arena of one layer's steps: bytes per token from left to right, steps from top to bottom, a block per value's life. */
function drawMemory(plan: Plan, top: number): Panel {
  const run = foldLayers(plan).find(({ layers }) => layers.length > 0)
  const first = run?.nodes[0]?.index ?? 0
  const last = run?.nodes.at(-1)?.index ?? Math.min(plan.steps.length, 30) - 1
  const [left, line] = [panelX + 84, 16]
  const scale = (panelWidth - 84) / (plan.bytesPerRow.tokens || 1)
  const yOf = (index: number) => top + 30 + (index - first) * line
  const producers = findProducers({ ...plan, values: plan.values.map((value, id) => ({ ...value, id })) })
  const lastReads = plan.values.map((_, id) => producers[id]!)
  plan.steps.forEach((step, index) => idsOf(step.inputs).forEach((id) => (lastReads[id] = index)))
  for (const { value } of plan.outputs) lastReads[value] = plan.steps.length
  const blocks = plan.values.flatMap(({ name, type, rows, offset, stride }, id) => {
    const [from, to] = [Math.max(first, producers[id]!), Math.min(last, lastReads[id]!)]
    if (rows !== 'tokens' || from > to || lastReads[id]! < first) return []
    const family = producers[id]! < 0 ? 'gather' : familyOf(plan.steps[producers[id]!]!.op)
    const place = { x: left + offset * scale, y: yOf(from) + 1, width: Math.max(1.5, stride * scale - 1), rx: 3 }
    const life = `${name}\n${type}, ${stride} bytes at ${offset}\nsteps ${producers[id]} to ${lastReads[id]}`
    return rect({ ...place, height: (to - from + 1) * line - 2 }, `${family} life`, life)
  })
  const words = plan.steps
    .slice(first, last + 1)
    .map((step, i) => `<text x="${panelX}" y="${yOf(first + i) + 12}" class="small">${step.op}</text>`)
  const layer = run ? `, layer ${run.layers[0]}` : ''
  return {
    svg: [heading(`memory per token: ${formatBytes(plan.bytesPerRow.tokens)}${layer}`, top), ...blocks, ...words].join('\n'),
    bottom: yOf(last + 1),
  }
}

function css(): string {
  const entries = Object.entries(families)
  const colours = (mode: 'light' | 'dark') => entries.map(([name, family]) => `.${name}{--c:${family[mode]}}`).join('')
  return `
svg {
  font: 13px ui-sans-serif, system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif;
  --page: #f6f7f9; --card: #fff; --line: #d5dae1; --ink: #1c2430; --soft: #5d6878; --wire: #8b95a5;
}
${colours('light')}
.page { fill: var(--page) }
.section { fill: var(--page); stroke: var(--line) }
.stack { fill: var(--line); opacity: .45 }
.card { fill: var(--card); stroke: var(--line) }
.stripe { fill: var(--c) }
.node:hover .card { stroke: var(--c); stroke-width: 2 }
.window { fill: var(--page); stroke: var(--c); stroke-width: 1.6 }
.life { fill: var(--c); opacity: .78 }
.life:hover { opacity: 1 }
.edge { fill: none; stroke: var(--wire); stroke-width: 1.6; marker-end: url(#tip) }
.stored { stroke-dasharray: 5 4 }
.tip { fill: var(--wire) }
text { fill: var(--ink) }
.title { font-size: 26px; font-weight: 700 }
.heading { font-size: 15px; font-weight: 650 }
.note, .small, .label { fill: var(--soft) }
.small { font-size: 11.5px }
.label { font-size: 12px }
.op { font-weight: 650; fill: var(--c) }
.weight { font: 11.5px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace }
.end { text-anchor: end }
.digit { font-size: 9.5px; text-anchor: middle; fill: var(--soft) }
.digit.full { fill: var(--card) }
@media (prefers-color-scheme: dark) {
svg { --page: #14161a; --card: #1d2127; --line: #343b46; --ink: #e8ebf0; --soft: #a2acba; --wire: #707b8c }
${colours('dark')}
}
`
}

const text = (x: number, y: number, style: string, words: string) => {
  return `<text x="${x}" y="${y}" class="${style}">${escape(words)}</text>`
}

interface Place {
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
  readonly rx: number
}

/** `title` shows while the pointer rests on it. */
function rect({ x, y, width, height, rx }: Place, style: string, title = ''): string {
  const size = `x="${round(x)}" y="${round(y)}" width="${round(width)}" height="${round(height)}" rx="${rx}" class="${style}"`
  return title ? `<rect ${size}><title>${escape(title)}</title></rect>` : `<rect ${size}/>`
}

const round = (n: number) => Math.round(n * 10) / 10

const fit = (words: string, most: number) =>
  words.length > most ? `${words.slice(0, Math.max(1, Math.floor(most) - 1))}…` : words

const escape = (words: string) =>
  words.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]!)
