/**
 * infernode beside node-llama-cpp: the same file, ids, threads and clock, both sides in turn within one run, medians of several
 * turns. `npm run bench:peers -- [--quick] [--json] [--threads 2] [--types q8_0,q4_k] [--repeat 5]`
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { cpus, loadavg } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { shape1B, syntheticModel } from '../synthetic.mjs'
import { installPeer } from './install.mjs'

const here = dirname(fileURLToPath(import.meta.url))
const promptTokens = 512
const generatedTokens = 64
/** "Within a factor of two" (issue 3); ratio is ours / peer, higher is better. */
const target = 0.5

const { values: args } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    threads: { type: 'string', default: '2' },
    types: { type: 'string', default: 'q8_0,q4_k' },
    repeat: { type: 'string' },
    model: { type: 'string' },
  },
})
const threads = Number(args.threads)
const repeat = Number(args.repeat ?? (args.quick ? 3 : 7))
const log = (text) => process.stderr.write(`${text}\n`)

// Threads that wait for each other by spinning suffer most from other programs: such numbers compare scheduling, not kernels.
const [load] = loadavg()
if (load > 0.5) log(`WARNING: this machine is busy (load ${load.toFixed(1)}); what follows is no fair comparison.`)
installPeer()
const rows = []
for (const type of args.types.split(',')) {
  log(`${type}: preparing the checkpoint`)
  const path = args.model ?? (await syntheticModel(type))
  rows.push(...(await compare(type, path)))
}
if (args.json)
  process.stdout.write(
    `${JSON.stringify({ rows, threads, repeat, loadBefore: load, cpu: cpus()[0].model, date: new Date().toISOString() })}\n`,
  )
else printTable()

async function compare(type, path) {
  const sides = []
  for (const name of ['infernode', 'node-llama-cpp']) sides.push(await start(name, path))
  const runs = sides.map(() => ({ prompt: [], generation: [] }))
  // The first turn pages the file in and warms both sides up; it does not count.
  for (let turn = 0; turn <= repeat; turn++) {
    // Who goes first changes from turn to turn, so that heat and clock speed favour nobody. A side that idles uses no CPU.
    const order = turn % 2 === 0 ? [0, 1] : [1, 0]
    for (const i of order) {
      const { promptMs } = await ask(sides[i], { ids: randomIds(promptTokens, turn), tokens: 0 })
      const { generationMs, generated } = await ask(sides[i], { ids: randomIds(16, turn), tokens: generatedTokens })
      if (turn === 0) continue
      runs[i].prompt.push((1000 * promptTokens) / promptMs)
      runs[i].generation.push((1000 * generated) / generationMs)
    }
    if (turn > 0) log(`${type}: turn ${turn} of ${repeat}`)
  }
  for (const side of sides) side.process.disconnect()
  return [
    row(
      `${type} prompt ${promptTokens} tokens/s`,
      runs.map((run) => run.prompt),
    ),
    row(
      `${type} generation ${generatedTokens} tokens/s`,
      runs.map((run) => run.generation),
    ),
  ]
}

function row(name, [ours, peer]) {
  const [a, b] = [median(ours), median(peer)]
  return {
    name,
    ours: round(a),
    peer: round(b),
    ratio: round(a / b),
    target,
    spread: { ours: spread(ours), peer: spread(peer) },
  }
}

async function start(name, path) {
  const side = { name, process: fork(join(here, `side-${name}.mjs`), { stdio: ['ignore', 2, 2, 'ipc'] }) }
  const { about } = await ask(side, { load: { path, threads, contextLength: shape1B.contextLength } })
  log(`${name}: ${JSON.stringify(about)}`)
  return side
}

async function ask(side, message) {
  side.process.send(message)
  const answered = new AbortController()
  const { signal } = answered
  const answer = await Promise.race([
    once(side.process, 'message', { signal }).then(([value]) => value),
    once(side.process, 'exit', { signal }).then(([code]) => ({ error: `exited with ${code}` })),
  ])
  answered.abort() // takes the other listener away
  if (answer.error) throw new Error(`${side.name}: ${answer.error}`)
  return answer
}

/** Other ids in every turn, so that no side profits from a cache of prefixes; the same ids for both sides. */
function randomIds(count, turn) {
  let x = 12345 + 7919 * turn + count
  return Array.from({ length: count }, (_, i) =>
    i === 0 ? 1 : 300 + ((x = (Math.imul(x, 1103515245) + 12345) >>> 1) % (shape1B.vocabSize - 300)),
  )
}

function printTable() {
  const cells = [['', 'infernode', 'node-llama-cpp', 'ratio', 'target']]
  for (const { name, ours, peer, ratio, target } of rows)
    cells.push([name, ours.toFixed(1), peer.toFixed(1), ratio.toFixed(2), target.toFixed(2)])
  const widths = cells[0].map((_, i) => Math.max(...cells.map((cell) => cell[i].length)))
  for (const cell of cells)
    console.log(cell.map((text, i) => (i === 0 ? text.padEnd(widths[i]) : text.padStart(widths[i]))).join('  '))
  console.log(`\n${threads} threads, medians of ${repeat} turns, ${cpus()[0].model}, ${new Date().toISOString().slice(0, 10)}`)
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}
function spread(values) {
  return [round(Math.min(...values)), round(Math.max(...values))]
}
function round(value) {
  return Number(value.toPrecision(4))
}
