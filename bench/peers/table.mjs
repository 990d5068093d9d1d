/** The rows that bench/peers/run.mjs and kernels.mjs keep, as a Markdown table that is also easy to read in a terminal. */

export function peerTable(rows, peer = 'node-llama-cpp') {
  const cells = [['what', 'unit', 'infernode', peer, 'ratio', 'at least', 'moonshot', "of this machine's limit", 'at least', 'moonshot']]
  for (const { name, unit, ours, peer, ratio, shareOfLimit, limit, targets } of rows)
    cells.push([
      ...[name, unit, number(ours), number(peer)],
      ...[ratio === undefined ? '' : times(ratio), ...pair(targets.ratio, times)],
      ...(targets.most ? ['', `≤ ${targets.most} ${unit}`, ''] : []),
      ...(targets.least ? ['', ...pair(targets.least, (value) => `${value} %`)] : []),
      ...(targets.most || targets.least ? [] : [shareOfLimit === undefined ? '' : `${percent(shareOfLimit)} ${limit}`, ...pair(targets.share, percent)]),
    ])
  const widths = cells[0].map((_, i) => Math.max(...cells.map((row) => row[i].length)))
  const line = (row) => `| ${row.map((text, i) => (i < 2 ? text.padEnd(widths[i]) : text.padStart(widths[i]))).join(' | ')} |`
  const rule = `| ${widths.map((width, i) => (i < 2 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`)).join(' | ')} |`
  return [line(cells[0]), rule, ...cells.slice(1).map(line), '', ...new Set(rows.map(origin))].join('\n')
}

export function origin({ threads, repeat, cpu, commit, date }) {
  return `${threads} threads, medians of ${repeat} turns, ${cpu}, commit ${commit ?? 'unknown'}, ${date.slice(0, 10)}`
}

export const number = (value) => (Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(1))
export const times = (value) => `${value.toFixed(value < 10 ? 2 : 1)} ×`
export const percent = (value) => `${(100 * value).toFixed(0)} %`
// A target that nobody set is null in JSON.
const pair = (values, format) => [0, 1].map((i) => (values?.[i] == null ? '' : format(values[i])))
