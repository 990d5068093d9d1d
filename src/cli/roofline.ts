/** A picture of kernels below this machine's limits: operations per second over operations per byte, both logarithmic. */
import type { MachinePeaks } from '../index.js'
import type { KernelRow } from './bench-kernels.js'

const width = 1000
const height = 600
const box = { left: 80, right: 760, top: 60, bottom: 530 }
const palette = ['#1f77b4', '#d62728', '#2ca02c', '#9467bd', '#ff7f0e', '#17becf', '#8c564b', '#e377c2', '#7f7f7f', '#bcbd22']

const label = 'text-anchor="end" fill="#333"'

interface About {
  version: string
  date: string
  cpu: string
  threads: number
}

/** SVG that needs nothing else. Points tell what they are when the mouse rests on them; ops that do not multiply have none. */
export function drawRoofline(rows: readonly KernelRow[], peaks: Readonly<Record<string, MachinePeaks>>, about: About): string {
  const points = rows.filter(({ gigaopsPerSecond }) => gigaopsPerSecond > 0)
  const ceilings = Object.entries(peaks).flatMap(([isa, { int8MacsPerSecond, bf16MacsPerSecond, f32MacsPerSecond }]) => [
    { name: `${isa} int8`, gops: (2 * int8MacsPerSecond) / 1e9, dash: '' },
    // Where bf16 is multiplied as f32, one line says it.
    ...(bf16MacsPerSecond > 1.2 * f32MacsPerSecond ? [{ name: `${isa} bf16`, gops: (2 * bf16MacsPerSecond) / 1e9, dash: '2 3' }] : []),
    { name: `${isa} f32`, gops: (2 * f32MacsPerSecond) / 1e9, dash: '6 4' },
  ])
  const bandwidth = Math.max(...Object.values(peaks).map(({ readBytesPerSecond }) => readBytesPerSecond / 1e9))
  const x = logScale([0.25, ...points.map(({ opsPerByte }) => opsPerByte), 2000], box.left, box.right)
  const y = logScale([...points.map((row) => row.gigaopsPerSecond / 2), ...ceilings.map(({ gops }) => 1.6 * gops)], box.bottom, box.top)
  const types = [...new Set(points.map(({ type }) => type))]
  const colour = (type: string): string => palette[types.indexOf(type) % palette.length]!
  const tokens = [...new Set(points.map((row) => row.tokens))].sort((a, b) => a - b)

  const parts = [
    `<rect width="${width}" height="${height}" fill="white"/>`,
    text(box.left, 28, 'Kernels below the limits of this machine', 'font-size="18" font-weight="bold"'),
    text(box.left, 46, `${about.cpu}, ${about.threads} threads, infernode ${about.version}, ${about.date.slice(0, 10)}`, 'fill="#555"'),
    ...axes(x, y),
    `<clipPath id="box"><rect x="${box.left}" y="${box.top}" width="${box.right - box.left}" height="${box.bottom - box.top}"/></clipPath>`,
    ...ceilings.map(({ name, gops, dash }) => ceiling(name, gops, dash, bandwidth, x, y)),
    roof(bandwidth, Math.max(...ceilings.map(({ gops }) => gops)), x, y),
    ...points.map((row) => point(row, colour(row.type), tokens.indexOf(row.tokens), x(row.opsPerByte), y(row.gigaopsPerSecond))),
    ...legend(types.map((type) => [type, colour(type)]), tokens),
  ]
  const head = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"`
  return `${head} font-family="sans-serif" font-size="12">\n${parts.join('\n')}\n</svg>\n`
}

type Scale = ((value: number) => number) & { decades: readonly number[] }

/** From the smallest to the largest of the values, onto [from, to]. */
function logScale(values: readonly number[], from: number, to: number): Scale {
  const low = Math.log10(Math.min(...values))
  const high = Math.log10(Math.max(...values))
  const decades = []
  for (let d = Math.ceil(low); d <= high; d++) decades.push(10 ** d)
  return Object.assign((value: number) => from + ((Math.log10(value) - low) / (high - low)) * (to - from), { decades })
}

function axes(x: Scale, y: Scale): string[] {
  const { left, right, top, bottom } = box
  return [
    ...x.decades.map((value) => line(x(value), top, x(value), bottom, 'stroke="#eee"') + text(x(value), bottom + 18, String(value), 'text-anchor="middle"')),
    ...y.decades.map((value) => line(left, y(value), right, y(value), 'stroke="#eee"') + text(left - 8, y(value) + 4, String(value), 'text-anchor="end"')),
    `<rect x="${left}" y="${top}" width="${right - left}" height="${bottom - top}" fill="none" stroke="#999"/>`,
    text((left + right) / 2, bottom + 42, 'operations per byte that is read or written', 'text-anchor="middle"'),
    `<g transform="rotate(-90 24 ${(top + bottom) / 2})">${text(24, (top + bottom) / 2, '10⁹ operations per second', 'text-anchor="middle"')}</g>`,
  ]
}

/** From where the bandwidth allows it to the right. */
function ceiling(name: string, gops: number, dash: string, bandwidth: number, x: Scale, y: Scale): string {
  return (
    line(Math.max(x(gops / bandwidth), box.left), y(gops), box.right, y(gops), `stroke="#333" stroke-dasharray="${dash}"`) +
    text(box.right - 6, y(gops) - 5, `${name}: ${gops.toFixed(0)} GOP/s`, label)
  )
}

function roof(bandwidth: number, highest: number, x: Scale, y: Scale): string {
  const knee = highest / bandwidth
  const low = knee / 1e6 // far outside: the clip path cuts it
  const at = 2 // operations per byte beside which the label stands
  return (
    line(x(low), y(low * bandwidth), x(knee), y(highest), 'stroke="#333" stroke-width="1.5" clip-path="url(#box)"') +
    text(x(at) - 8, y(at * bandwidth) - 8, `reading: ${bandwidth.toFixed(1)} GB/s`, label)
  )
}

function point(row: KernelRow, colour: string, mark: number, x: number, y: number): string {
  const { op, type, shape, tokens, model, isa, gigaopsPerSecond: gops, gigabytesPerSecond: gb, shareOfLimit, limit } = row
  const title = `${op} ${type} ${shape}, ${tokens} tokens (${model}, ${isa}): ${gops.toFixed(1)} GOP/s, ${gb.toFixed(1)} GB/s, ${(100 * shareOfLimit).toFixed(0)} % of ${limit}`
  return `<g><title>${escape(title)}</title>${marker(mark, x, y, colour, op === 'attention')}</g>`
}

/** One form per number of tokens; attention is hollow. */
function marker(mark: number, x: number, y: number, colour: string, hollow: boolean): string {
  const look = `fill="${hollow ? 'white' : colour}" fill-opacity="0.75" stroke="${colour}" stroke-width="1.5"`
  const at = (dx: number, dy: number): string => `${(x + dx).toFixed(1)},${(y + dy).toFixed(1)}`
  if (mark % 4 === 0) return `<circle cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="5" ${look}/>`
  const corners = [
    [at(-5, -5), at(5, -5), at(5, 5), at(-5, 5)],
    [at(0, -6), at(6, 5), at(-6, 5)],
    [at(0, -7), at(6, 0), at(0, 7), at(-6, 0)],
  ][(mark % 4) - 1]!
  return `<polygon points="${corners.join(' ')}" ${look}/>`
}

function legend(types: readonly (readonly [string, string])[], tokens: readonly number[]): string[] {
  const left = box.right + 28
  let top = box.top + 8
  const parts: string[] = []
  const entry = (mark: string, label: string): void => {
    parts.push(mark + text(left + 16, top + 4, label))
    top += 22
  }
  for (const [type, colour] of types) entry(marker(0, left, top, colour, false), type)
  top += 10
  tokens.forEach((n, i) => entry(marker(i, left, top, '#555', false), `${n} token${n === 1 ? '' : 's'}`))
  entry(marker(0, left, top, '#555', true), 'attention (type of the cache)')
  return parts
}

function line(x1: number, y1: number, x2: number, y2: number, look: string): string {
  const [a, b, c, d] = [x1, y1, x2, y2].map((value) => value.toFixed(1))
  return `<line x1="${a}" y1="${b}" x2="${c}" y2="${d}" ${look}/>`
}

function text(x: number, y: number, content: string, look = ''): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${look}>${escape(content)}</text>`
}

function escape(content: string): string {
  return content.replace(/[&<>]/g, (char) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[char]!)
}
