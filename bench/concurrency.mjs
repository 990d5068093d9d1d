/**
 * Many callers of one model: `node bench/concurrency.mjs [--callers 1,8,32] [--tokens 48] [--model a.gguf] [--threads 2] [--json]`.
 * Every caller streams its own answer to its own prompt of 32 tokens; by default from a llama of 1.1 billion parameters in q8_0
 * with random weights, which is made on the first run. Tokens/s are of all callers together, prompts included in the time.
 * Then a prompt of 2,000 tokens is asked twice, and a long prompt comes in while a text is streamed.
 */
import { cpus } from 'node:os'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { parseArgs } from 'node:util'
import { Model } from '../dist/index.js'
import { syntheticModel } from './synthetic.mjs'

const { values: args } = parseArgs({
  options: {
    callers: { type: 'string', default: '1,8,32' },
    tokens: { type: 'string', default: '48' },
    model: { type: 'string' },
    threads: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
})
const path = args.model ?? (await syntheticModel('q8_0'))
const options = { cacheTokens: 8192, ...(args.threads && { threads: Number(args.threads) }) }
const maxTokens = Number(args.tokens)
const prompt = (n, i) => Array.from({ length: n }, (_, t) => 300 + ((t * 7919 + i * 104729) % 30000))
const noEnd = { logitBias: { 2: -Infinity }, temperature: 0.8, seed: 1 }

async function drain(generate) {
  for await (const _ of generate);
}

/** All callers at once; each reads its stream like a server would. */
async function together(callers) {
  const model = await Model.load(path, options)
  await drain(model.generate(prompt(32, 999), { ...noEnd, maxTokens: 2 })) // pages of the file come into memory
  const delays = monitorEventLoopDelay({ resolution: 1 })
  delays.enable()
  const begin = performance.now()
  await Promise.all(Array.from({ length: callers }, (_, i) => drain(model.generate(prompt(32, i), { ...noEnd, maxTokens }))))
  const seconds = (performance.now() - begin) / 1000
  delays.disable()
  const { firstTokenMs, tokenGapMs, largestBatch } = model.stats()
  await model.dispose()
  return {
    callers,
    tokensPerSecond: (callers * maxTokens) / seconds,
    largestBatch,
    firstTokenMs,
    tokenGapMs,
    // The histogram counts the timer's own period of 1 ms in.
    loopDelayMs: { p99: delays.percentile(99) / 1e6 - 1, max: delays.max / 1e6 - 1 },
  }
}

/** The same long prompt twice. */
async function repeated() {
  const model = await Model.load(path, options)
  const long = prompt(Math.min(2000, model.info.contextLength - 32), 1)
  const ask = async (last) => (await model.generate([...long, last], { ...noEnd, maxTokens: 4 }).result()).timings.promptMs
  const times = { tokens: long.length, firstMs: await ask(300), againMs: await ask(301) }
  await model.dispose()
  return times
}

/** The longest wait of a stream while a prompt of 1,500 tokens is computed beside it. */
async function beside() {
  const model = await Model.load(path, options)
  const stream = model.generate(prompt(16, 1), { ...noEnd, maxTokens: 400 })
  let last
  let longest = 0
  let long
  let begun = 0
  for await (const _ of stream) {
    const now = performance.now()
    if (long) longest = Math.max(longest, now - last)
    last = now
    if (++begun === 10) long = model.generate(prompt(1500, 2), { ...noEnd, maxTokens: 1 }).result().then(() => (long = undefined))
    if (begun > 10 && !long) break
  }
  const { tokenGapMs } = model.stats()
  await model.dispose()
  return { promptTokens: 1500, longestGapMs: longest, tokenGapMs }
}

const report = { machine: `${cpus().length} × ${cpus()[0].model}`, path, callers: [], repeated: undefined, beside: undefined }
const log = args.json ? () => {} : console.log
const ms = (value) => `${value.toFixed(value < 10 ? 1 : 0)} ms`
for (const callers of args.callers.split(',').map(Number)) {
  const row = await together(callers)
  report.callers.push(row)
  log(
    `${String(callers).padStart(3)} callers: ${row.tokensPerSecond.toFixed(1)} tokens/s ` +
      `(${(row.tokensPerSecond / report.callers[0].tokensPerSecond).toFixed(2)} ×), first token p50 ${ms(row.firstTokenMs.p50)}, ` +
      `gap p50 ${ms(row.tokenGapMs.p50)} p99 ${ms(row.tokenGapMs.p99)}; ` +
      `event loop p99 ${ms(row.loopDelayMs.p99)} max ${ms(row.loopDelayMs.max)}`,
  )
}
report.repeated = await repeated()
log(`a prompt of ${report.repeated.tokens} tokens: ${ms(report.repeated.firstMs)}, again: ${ms(report.repeated.againMs)}`)
report.beside = await beside()
log(`longest gap of a stream beside a prompt of 1500 tokens: ${ms(report.beside.longestGapMs)}`)
if (args.json) console.log(JSON.stringify(report, null, 2))
