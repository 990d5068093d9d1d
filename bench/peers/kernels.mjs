/**
 * Single kernels beside onnxruntime-node's: the same numbers, threads and clock, both sides in turn within one run, medians over all
 * calls. `npm run bench:peers:kernels -- [--rows TEXT,…] [--turns 5] [--calls 4] [--json] [--table]`
 *
 * Rows are kept and joined as those of bench/peers/run.mjs are, in bench/results/kernels.json. A sample of both results is compared:
 * a row whose two sides compute something else is an error.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { installPeers } from './install.mjs'
import { headDim, heads, k, length, m, n, scales } from './kernel-shapes.mjs'
import { peerTable } from './table.mjs'
import { ask, commit, launch, median, round, spread } from './turns.mjs'

const resultsPath = join(dirname(fileURLToPath(import.meta.url)), '../results/kernels.json')
const { values: args } = parseArgs({
  options: {
    rows: { type: 'string' },
    turns: { type: 'string', default: '5' },
    calls: { type: 'string', default: '4' },
    json: { type: 'boolean', default: false },
    table: { type: 'boolean', default: false },
  },
})

const matmul = 2 * m * n * k
const int8 = { operations: matmul, limit: 'int8', ratio: [1, 1.5] }
// The causal half of two products of length × length × headDim per head.
const attention = { ours: 'attention', operations: 2 * length * length * headDim * heads, limit: 'f32', ratio: [1.5, 2] }
/** `tolerance`: norm of the difference to norm of the results. Each side has its own rule for a block's scale; halves round differently. */
const cases = [
  { ours: 'matmul f32', peer: 'MatMul', operations: matmul, limit: 'f32', ratio: [1], share: [0.85, 0.92], tolerance: 1e-5 },
  { ours: 'matmul q8_0', peer: 'MatMulNBits, 8 bits', ...int8, tolerance: 0.02 },
  { ours: 'matmul q4_0', peer: 'MatMulNBits, 4 bits', ...int8, tolerance: 0.15 },
  { ours: 'int8Matmul', peer: 'MatMulInteger', ...int8, tolerance: 0 },
  { ours: 'int8Matmul', peer: 'QLinearMatMul', ...int8, tolerance: 1e-3 }, // its sums are rounded to bytes, ours are exact
  { ...attention, peer: 'MultiHeadAttention', tolerance: 1e-5 },
  { ...attention, peer: 'GroupQueryAttention', tolerance: 1e-5 },
].map((row) => ({ ...row, name: `${row.ours} / ${row.peer}` }))

const parts = args.rows?.split(',').map((part) => part.trim())
const asked = cases.filter(({ name }) => parts?.some((part) => name.includes(part)) ?? true)
if (asked.length === 0) throw new Error(`There is no row like ${args.rows}; there are ${cases.map(({ name }) => name).join('; ')}.`)
if (!args.table) await measureAll()
const rows = existsSync(resultsPath) ? JSON.parse(readFileSync(resultsPath, 'utf8')).rows : []
if (args.json) process.stdout.write(`${JSON.stringify({ rows })}\n`)
else console.log(peerTable(rows, 'onnxruntime-node'))

async function measureAll() {
  const [load] = loadavg()
  if (load > 0.5) process.stderr.write(`WARNING: this machine is busy (load ${load.toFixed(1)}); what follows is no fair comparison.\n`)
  installPeers()
  for (const row of asked) {
    process.stderr.write(`${row.name}\n`)
    keep({ ...(await measured(row)), load })
  }
}

async function measured(row) {
  const sides = [launch('kernels-infernode'), launch('kernels-onnxruntime')]
  const about = await ask(sides[0], 'about')
  const { version } = await ask(sides[1], 'about')
  const { threads } = about
  const [ours, theirs] = [await ask(sides[0], 'prepare', { name: row.ours, threads }), await ask(sides[1], 'prepare', { name: row.peer, threads })]
  checkSame(row, ours.sample, theirs.sample)
  const milliseconds = [[], []]
  const limits = []
  for (let turn = 0; turn < Number(args.turns); turn++) {
    for (const i of turn % 2 === 0 ? [0, 1] : [1, 0]) {
      await sleep(100) // threads of the other side may still wait for work by spinning
      milliseconds[i].push(...(await ask(sides[i], 'time', { repeat: Number(args.calls) })).milliseconds)
    }
    await sleep(100)
    limits.push((await ask(sides[0], 'about')).peaks)
  }
  for (const side of sides) side.process.disconnect()
  const [mine, other] = milliseconds.map((values) => values.map((value) => row.operations / value / 1e6))
  const peak = (2 * median(limits.map((peaks) => peaks[`${row.limit}MacsPerSecond`]))) / 1e9
  return {
    ...{ name: row.name, unit: 'GOP/s', ours: round(median(mine)), peer: round(median(other)), spread: { ours: spread(mine), peer: spread(other) } },
    ...{ ratio: round(median(mine) / median(other)), shareOfLimit: round(median(mine) / peak), limit: row.limit },
    targets: { ratio: row.ratio, ...(row.share && { share: row.share }) },
    ...{ date: new Date().toISOString(), commit: commit(), version: about.packageVersion, peerVersion: version, cpu: about.cpuModel },
    ...{ threads, repeat: Number(args.turns) },
  }
}

/** Against comparing different things. */
function checkSame({ name, peer, tolerance }, ours, theirs) {
  const bytes = peer === 'QLinearMatMul'
  const expected = bytes ? ours.map((sum) => Math.min(255, Math.max(0, Math.round((sum * scales.a * scales.b) / scales.out + 128)))) : ours
  const norm = (values) => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0))
  const difference = norm(expected.map((value, i) => value - theirs[i])) / norm(expected)
  if (!(difference <= tolerance)) throw new Error(`${name}: results differ by ${difference}, where ${tolerance} is allowed.`)
}

function keep(row) {
  const kept = existsSync(resultsPath) ? JSON.parse(readFileSync(resultsPath, 'utf8')).rows : []
  const byName = new Map([...kept, row].map((one) => [one.name, one]))
  mkdirSync(dirname(resultsPath), { recursive: true })
  writeFileSync(resultsPath, `${JSON.stringify({ rows: cases.flatMap(({ name }) => byName.get(name) ?? []) }, null, 2)}\n`)
}
