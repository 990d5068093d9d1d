/**
 * `npm run soak -- [--minutes 30] [--seed 1] [--model path …]`: random load on several models from several workers, with clients that vanish,
 * models that come and go and workers that are terminated; then asserts what docs/reliability.md promises: the same texts as alone, every
 * outcome a value or the error that was provoked, memory that does not grow, no pages, requests, threads, mappings or handles left, an
 * event loop that stayed free. Ends with "N passed, M failed".
 */
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Worker } from 'node:worker_threads'
import { embeddedModel, Model } from '../dist/model.js'

const { values: args } = parseArgs({
  options: {
    minutes: { type: 'string', default: '30' },
    seed: { type: 'string', default: String(Date.now() % 1e6) },
    model: { type: 'string', multiple: true, default: [] },
  },
})
const minutes = Number(args.minutes)
if (!(minutes > 0)) throw new Error('--minutes wants a number above 0')
const begin = performance.now()
const end = begin + minutes * 60_000
const paths = [embeddedModel, ...args.model]
const onLinux = process.platform === 'linux'

/** Prompts with what they give when nobody else is there; every one of them is asked for again and again. */
const loadOptions = [{ cacheTokens: 2048 }, { cacheTokens: 1024, kvType: 'q8_0', threads: 1 }, { cacheTokens: 2048, mmap: false }]
const references = []
for (const path of paths)
  for (const options of loadOptions) {
    const model = await Model.load(path, options)
    const texts = []
    for (let seed = 0; seed < 6; seed++) {
      const request = { prompt: 'Once upon a time there was a king. '.repeat(1 + seed * 3), options: { seed, maxTokens: 20 + 15 * seed } }
      texts.push({ ...request, tokens: (await model.generate(request.prompt, request.options).result()).tokens })
    }
    await model.dispose()
    references.push({ path, options, texts })
  }
const handles = () => process.getActiveResourcesInfo().filter((name) => name !== 'Timeout').sort()
const before = handles()

const tally = {}
const problems = []
const rss = []
const delay = monitorEventLoopDelay({ resolution: 1 })

function startWorker(number) {
  const worker = new Worker(new URL('./soak-worker.mjs', import.meta.url), {
    workerData: { references, seed: Number(args.seed) + 7919 * number, milliseconds: Math.max(0, end - performance.now()) },
  })
  worker.on('message', (message) => {
    for (const [what, times] of Object.entries(message.tally)) tally[what] = (tally[what] ?? 0) + times
    problems.push(...message.problems)
  })
  worker.on('error', (error) => problems.push(`a worker ended by ${error.stack}`))
  return { worker, exited: once(worker, 'exit') }
}

let started = 0
let terminated = 0
/** One lane's workers live to the end, the other's are terminated after some seconds, in mid-work. */
const lanes = [
  (async () => {
    await startWorker(started++).exited
  })(),
  (async () => {
    while (performance.now() < end) {
      const { worker, exited } = startWorker(started++)
      await Promise.race([sleep(Math.min(1000 + Math.random() * 8000, Math.max(0, end - performance.now()))), exited])
      if (performance.now() < end) {
        terminated++
        await worker.terminate()
      }
      await exited
    }
  })(),
]
// This thread has a model of its own, as a service would, and measures.
const own = await Model.load(references[0].path, references[0].options)
let watching = true
const service = (async () => {
  for (let i = 0; watching; i++) {
    const { prompt, options, tokens } = references[0].texts[i % references[0].texts.length]
    const got = await own.generate(prompt, options).result()
    if (JSON.stringify(got.tokens) !== JSON.stringify(tokens)) problems.push(`the main thread's text ${i} is another one beside others`)
    tally["main thread's texts"] = (tally["main thread's texts"] ?? 0) + 1
  }
})()
delay.enable()
const every = Math.max(500, (minutes * 60_000) / 400)
while (performance.now() < end) {
  await sleep(Math.min(every, Math.max(1, end - performance.now())))
  rss.push(process.memoryUsage.rss())
}
delay.disable()
watching = false
await Promise.all([service, ...lanes])

// Everybody has gone but our own model.
for (let i = 0; i < 500 && own.stats().running > 0; i++) await sleep(2)
const stats = own.stats()
const engineThreads = () =>
  readdirSync('/proc/self/task').filter((id) => readFileSync(`/proc/self/task/${id}/comm`, 'utf8').startsWith('inf')).length
const mapped = () => readFileSync('/proc/self/maps', 'utf8').split('\n').filter((line) => paths.some((path) => line.includes(path))).length
const threads = onLinux ? engineThreads() : undefined
const mappingsWithOne = onLinux ? mapped() : undefined
await own.dispose()
await sleep(100)
const left = handles()
for (const name of before) if (left.includes(name)) left.splice(left.indexOf(name), 1)

let passed = 0
let failed = 0
const check = (what, holds, detail) => {
  if (holds) passed++
  else failed++
  console.log(`${holds ? 'holds' : 'FAILS'}: ${what} (${detail})`)
}
console.log(`${((performance.now() - begin) / 60_000).toFixed(1)} minutes, seed ${args.seed}: ${JSON.stringify(tally)}`)
check('there was work', (tally.same ?? 0) > 10 && terminated > 0, `${started} workers, ${terminated} terminated`)
check('same texts as alone; only errors that were provoked', problems.length === 0, problems.slice(0, 5).join('; ') || 'no exception')
check('no request is left', stats.running === 0 && stats.waiting === 0, `${stats.running} run, ${stats.waiting} wait`)
if (onLinux) {
  check('the threads of one runtime', threads <= 4 + Math.max(...[own.info.threads, 4]), `${threads}`)
  check('one mapping while one model lives, none after', mappingsWithOne === 1 && mapped() === 0, `${mappingsWithOne}, then ${mapped()}`)
}
check('no handle is left', left.length === 0, left.join(' ') || 'none')
check('memory does not grow', !growing(rss), `${mb(rss[0])} MB at first, ${mb(Math.max(...rss))} at most, ${mb(rss.at(-1))} at last`)
const p99 = delay.percentile(99) / 1e6 - 1
check('the event loop stays free', p99 < 50, `p99 ${p99.toFixed(2)} ms, max ${(delay.max / 1e6).toFixed(1)} ms`)
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed > 0 ? 1 : 0

function mb(bytes) {
  return (bytes / 2 ** 20).toFixed(0)
}

/**
 * Workers and models come and go, so RSS swings by tens of megabytes: compared are the least values, which are what is left in between. The
 * least of the last third must not be above the least of the middle third by more than 10 % of it and 32 MB (V8's heap grows by steps).
 */
function growing(series) {
  const third = Math.floor(series.length / 3)
  const [middle, last] = [series.slice(third, 2 * third), series.slice(2 * third)].map((part) => Math.min(...part))
  return last > middle * 1.1 + 32 * 2 ** 20
}
