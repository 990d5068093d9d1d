/**
 * Does the event loop stay free? `npm run bench:event-loop -- [--model path] [--quick] [--json]`. Loads a model (default: a llama of 1.1B,
 * q8_0, random weights), tokenizes 1 MB of text, prefills 2,048 tokens and generates for 8 callers, while a monitor sees how late the
 * event loop's timers are, in steps of 1 ms; then blocks the event loop for 2 s, to see that generation goes on and delivers afterwards.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Model } from '../dist/index.js'
import { syntheticModel } from './synthetic.mjs'

const { values: args } = parseArgs({
  options: {
    model: { type: 'string' },
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    threads: { type: 'string' },
  },
})
const limits = { p99: 5, max: 25 }
// `--model embedded`: the one in the package, for tests.
const path = args.model === 'embedded' ? undefined : (args.model ?? (await syntheticModel('q8_0')))

const resolution = 1
const phases = []
/** The histogram holds the time from timer to timer, its resolution included. */
const late = (nanoseconds) => Math.max(0, nanoseconds / 1e6 - resolution)
/** Milliseconds that timers came late while `work` ran. */
async function watched(name, work) {
  const monitor = monitorEventLoopDelay({ resolution })
  monitor.enable()
  const begin = performance.now()
  const result = await work()
  const seconds = (performance.now() - begin) / 1000
  await sleep(2 * resolution) // so that the last delay is seen
  monitor.disable()
  phases.push({ name, seconds, p50: late(monitor.percentile(50)), p99: late(monitor.percentile(99)), max: late(monitor.max) })
  return result
}

await watched('nothing, to compare with', () => sleep(1000))
const load = {
  ...(args.threads && { threads: Number(args.threads) }),
  ...(path && { cacheTokens: 8 * 2048 }),
}
const whole = monitorEventLoopDelay({ resolution })
whole.enable()
const model = await watched('loading', () => Model.load(path, load))
const text = 'Once upon a time there was a king who had a daughter, and the daughter had a golden ball. '
const ids = await watched('tokenizing 1 MB', () => model.encode(text.repeat(Math.ceil(1e6 / text.length))))
const nPrompt = Math.min(args.quick ? 256 : 2048, model.info.contextLength) - 2
await watched(`a prompt of ${nPrompt} tokens`, () => model.generate(ids.slice(0, nPrompt), { maxTokens: 1, temperature: 0 }).result())
await watched('generating for 8 callers', () =>
  Promise.all(
    Array.from({ length: 8 }, async (_, seed) => {
      for await (const _ of model.generate(text, { seed, maxTokens: path && !args.quick ? 48 : 200, logprobs: 3 })) await null
    }),
  ),
)
await watched('disposing', () => model.dispose())
whole.disable()

// The other way round.
const other = await Model.load(path, load)
const noEnd = Object.fromEntries(other.info.eosTokenIds.map((id) => [id, -Infinity]))
const options = { seed: 9, maxTokens: path ? 24 : 200, logitBias: noEnd }
const story = other.generate('Once upon a time', options)
const blockedUntil = performance.now() + 2000
while (performance.now() < blockedUntil);
const unblocked = performance.now()
const { timings, tokens } = await story.result()
const blocked = {
  blockedMs: 2000,
  tokens: tokens.length,
  /** What the engine took for them, by its own clock; and how long after the block they were all there. */
  engineMs: timings.queuedMs + timings.promptMs + timings.generationMs,
  deliveredAfterMs: performance.now() - unblocked,
}
await other.dispose()

const all = { p99: late(whole.percentile(99)), max: late(whole.max) }
if (args.json) console.log(JSON.stringify({ phases, all, limits, blocked, model: model.info.name, threads: model.info.threads }))
else {
  const line = (name, ...cells) => console.log(name.padEnd(28) + cells.map((cell) => cell.padStart(10)).join(''))
  line('delays in ms', 'p50', 'p99', 'max', 'seconds')
  for (const { name, p50, p99, max, seconds } of phases) line(name, p50.toFixed(2), p99.toFixed(2), max.toFixed(2), seconds.toFixed(2))
  console.log(`from loading to disposing: p99 ${all.p99.toFixed(2)} (below ${limits.p99}), max ${all.max.toFixed(2)} (below ${limits.max})`)
  console.log(
    `event loop blocked for 2000 ms: ${blocked.tokens} tokens were generated in ${blocked.engineMs.toFixed(0)} ms meanwhile and ` +
      `delivered ${blocked.deliveredAfterMs.toFixed(1)} ms after it`,
  )
  process.exitCode = all.p99 < limits.p99 && all.max < limits.max ? 0 : 1
}
