/**
 * infernode beside node-llama-cpp: the same file, ids, threads and clock, both sides in turn within one run, medians of several
 * turns. `npm run bench:peers -- [--rows TEXT,… | --all] [--list] [--repeat 5] [--threads 2] [--quick] [--json] [--table]`
 *
 * --rows takes rows' names or parts of them (`--rows 'q8_0 prompt,load'`); without it everything but long contexts
 * runs, which take minutes each; --all runs those, too. A run keeps its rows in bench/results/peers.json, where later runs of other rows
 * join them: --table prints all that is there and measures nothing.
 */
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { runtime } from '../../dist/index.js'
import { besideSpinners } from '../spinners.mjs'
import { forgetSyntheticModel, syntheticModel } from '../synthetic.mjs'
import { installPeers, peerModule } from './install.mjs'
import { sessions, shape } from './rows.mjs'
import { peerTable } from './table.mjs'
import { ask, commit, launch, median, round, spread } from './turns.mjs'

const here = dirname(fileURLToPath(import.meta.url))
const resultsPath = join(here, '../results/peers.json')
const { values: args } = parseArgs({
  options: {
    rows: { type: 'string' },
    all: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
    table: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    threads: { type: 'string', default: '2' },
    repeat: { type: 'string' },
  },
})
const threads = Number(args.threads)
const repeat = Number(args.repeat ?? (args.quick ? 3 : 5))
const log = (text) => process.stderr.write(`${text}\n`)

const names = new Set(sessions.flatMap(({ rows }) => rows.map(({ name }) => name)))
const wanted = args.rows?.split(',').map((part) => part.trim())
const fits = (name, part) => (names.has(part) ? name === part : name.includes(part))
const asked = sessions
  .map((session) => ({ ...session, rows: session.rows.filter(({ name }) => wanted?.some((part) => fits(name, part)) ?? (args.all || !session.slow)) }))
  .filter(({ rows }) => rows.length > 0)
if (asked.length === 0) throw new Error(`There is no row like ${args.rows}; --list names them.`)

if (args.list) for (const name of names) console.log(name)
else {
  if (!args.table) await measureAll()
  const kept = keptRows()
  if (args.json) process.stdout.write(`${JSON.stringify({ rows: kept })}\n`)
  else console.log(peerTable(kept))
}

async function measureAll() {
  // Threads that wait for each other by spinning suffer most from other programs: such numbers compare scheduling, not kernels.
  const [load] = loadavg()
  if (load > 0.5) log(`WARNING: this machine is busy (load ${load.toFixed(1)}); what follows is no fair comparison.`)
  installPeers()
  const { cpuModel, packageVersion } = await runtime()
  const about = { date: new Date().toISOString(), commit: commit(), version: packageVersion, peerVersion: peerVersion(), cpu: cpuModel, threads, repeat, load }
  for (const session of asked) {
    const path = await syntheticModel(session.type, shape)
    log(`${session.rows.map(({ name }) => name).join('; ')}`)
    keep((await measured(session, path)).map((row) => ({ ...row, ...about })))
    if (session.type === 'f32') forgetSyntheticModel('f32', shape) // 4 GB
  }
}

async function measured(session, path) {
  const { rows, contextLength = 2048, sequences = 1, kvType = 'f16', isa, peerCpu } = session
  const options = { path, threads, contextLength, sequences, kvType, isa }
  if (peerCpu) peerModule(peerCpu) // the copy is made before the clock runs
  const fresh = rows.filter(({ start, memory }) => start || memory)
  const results = []
  for (const row of fresh) results.push(await (row.start ? starts(row, options) : memory(row, options)))
  if (fresh.length === rows.length) return results

  const sides = [launch('infernode'), launch('node-llama-cpp', peerCpu && { INFERNODE_PEER_CPU: peerCpu })]
  for (const side of sides) log(`  ${side.name}: ${JSON.stringify((await ask(side, 'load', options)).about)}`)
  const runs = rows.map(() => sides.map(() => []))
  const limits = []
  // The first turn pages the file in and warms both sides up; it does not count. Long ones warm themselves up.
  for (let turn = session.slow ? 1 : 0; turn <= (session.slow ? Math.min(repeat, 1) : repeat); turn++) {
    if (turn > 0) limits.push(await ask(sides[0], 'more', { name: 'limits' }))
    // Who goes first changes from turn to turn, so that heat and clock speed favour nobody. A side that idles uses no CPU.
    for (const i of turn % 2 === 0 ? [0, 1] : [1, 0]) {
      const values = await turnOf(sides[i], rows, turn)
      if (turn > 0) values.forEach((value, r) => runs[r][i].push(value))
    }
  }
  for (const side of sides) side.process.disconnect()
  const result = (row, [ours, peer]) => ({
    ...summary(row, ours, peer),
    ...(row.ratio && { ratio: round(median(ours) / median(peer)) }),
    ...sharesOf(row, median(ours), limits),
  })
  return [...results, ...rows.map((row, r) => result(row, runs[r]))]
}

/** Tokens per second of each row, or a share of a quiet speed in percent. The generation that comes after a long prompt is measured with that prompt. */
async function turnOf(side, rows, turn) {
  const after = rows.find((row) => row.after)
  const long = after && (await ask(side, 'measure', { ids: randomIds(after.after, turn), tokens: after.generation }))
  const values = []
  for (const row of rows) {
    if (row.busy) {
      const speed = async () => {
        const { generationMs, generated } = await ask(side, 'measure', { ids: randomIds(16, turn), tokens: row.busy })
        return (1000 * generated) / generationMs
      }
      const quiet = await speed()
      values.push((100 * (await besideSpinners(speed))) / quiet)
    } else if (row.together) {
      const prompts = Array.from({ length: row.together }, (_, i) => randomIds(row.prompt, 1000 * turn + i))
      const { milliseconds, generated } = await ask(side, 'together', { prompts, tokens: turn === 0 ? 4 : row.tokens })
      values.push((1000 * generated) / milliseconds)
    } else if (row.prompt) {
      const { promptMs } = long ?? (await ask(side, 'measure', { ids: randomIds(row.prompt, turn), tokens: 0 }))
      values.push((1000 * row.prompt) / promptMs)
    } else {
      const { generationMs, generated } = long ?? (await ask(side, 'measure', { ids: randomIds(16, turn), tokens: row.generation }))
      values.push((1000 * generated) / generationMs)
    }
  }
  return values
}

/** Prompts compute: their limit is the rate of multiply-adds, in int8 or (weights of floats) in bf16 or f32. Generation reads every weight for a token. */
function sharesOf(row, speed, limits) {
  if (!row.share || limits.length === 0) return {}
  const of = (pick) => median(limits.map(pick))
  const { macsPerPromptToken, bytesPerToken } = limits[0].work
  if (row.generation) return { shareOfLimit: round((speed * bytesPerToken) / of(({ peaks }) => peaks.readBytesPerSecond)), limit: 'read' }
  // Of many sequences, prompts are computed beside the tokens that are counted.
  const perToken = row.together ? macsPerPromptToken * (1 + row.prompt / row.tokens) : macsPerPromptToken
  const limit = row.arithmetic ?? 'int8'
  return { shareOfLimit: round((speed * perToken) / of(({ peaks }) => peaks[`${limit}MacsPerSecond`])), limit }
}

/** A process for each: from its call of load to the first token after a prompt of 16. */
async function starts(row, options) {
  const times = [[], []]
  for (let turn = 0; turn <= repeat; turn++)
    for (const i of turn % 2 === 0 ? [0, 1] : [1, 0]) {
      const side = launch(['infernode', 'node-llama-cpp'][i])
      const { milliseconds } = await ask(side, 'start', { options, ids: randomIds(16, turn) })
      side.process.disconnect()
      if (turn > 0) times[i].push(milliseconds)
    }
  return { ...summary(row, ...times), ratio: round(median(times[1]) / median(times[0])) }
}

/** After 512 tokens of prompt and 64 more, with every page of the file mapped or copied; what is beyond what must be there. */
async function memory(row, options) {
  const megabytes = []
  const nothing = launch('nothing')
  const empty = (await ask(nothing, 'memory')).rss
  nothing.process.disconnect()
  let kvBytes = 0
  for (const name of ['infernode', 'node-llama-cpp']) {
    const side = launch(name)
    await ask(side, 'load', options)
    await ask(side, 'measure', { ids: randomIds(512, 1), tokens: 64 })
    const { rss } = await ask(side, 'memory')
    // Both have room for the same positions of the same width; ours knows its size.
    if (name === 'infernode') ({ kvBytes } = await ask(side, 'more', { name: 'limits' }))
    megabytes.push([(rss - empty - statSync(options.path).size - kvBytes) / 1e6])
    side.process.disconnect()
  }
  return summary(row, ...megabytes)
}

function summary({ name, unit = 'tokens/s', ratio, share, most, least }, ours, peer) {
  return {
    ...{ name, unit, ours: round(median(ours)), peer: round(median(peer)), spread: { ours: spread(ours), peer: spread(peer) } },
    targets: { ...(ratio && { ratio }), ...(share && { share }), ...(most && { most }), ...(least && { least }) },
  }
}

/** Other ids in every turn, so that no side profits from a cache of prefixes; the same ids for both sides. */
function randomIds(count, turn) {
  let x = 12345 + 7919 * turn + count
  return Array.from({ length: count }, (_, i) =>
    i === 0 ? 1 : 300 + ((x = (Math.imul(x, 1103515245) + 12345) >>> 1) % (shape.vocabSize - 300)),
  )
}

function peerVersion() {
  return JSON.parse(readFileSync(join(here, 'node_modules/node-llama-cpp/package.json'), 'utf8')).version
}

function keptRows() {
  return existsSync(resultsPath) ? JSON.parse(readFileSync(resultsPath, 'utf8')).rows : []
}

/** In the order of the table, the latest of each. */
function keep(rows) {
  const byName = new Map([...keptRows(), ...rows].map((row) => [row.name, row]))
  const ordered = sessions.flatMap((session) => session.rows.flatMap(({ name }) => byName.get(name) ?? []))
  mkdirSync(dirname(resultsPath), { recursive: true })
  writeFileSync(resultsPath, `${JSON.stringify({ rows: ordered }, null, 2)}\n`)
}
