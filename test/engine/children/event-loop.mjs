// How the event loop fares while 8 callers generate, and how generation fares while the event loop is blocked.
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { Model } from '../../../dist/index.js'

const model = await Model.load(undefined, { cacheTokens: 4096 })
const start = (seed, maxTokens) => model.generate('Once upon a time', { seed, maxTokens, logprobs: 3 })
await start(0, 20).result()

const delays = []
for (let round = 0; round < 3; round++) {
  const monitor = monitorEventLoopDelay({ resolution: 5 })
  monitor.enable()
  await Promise.all(
    Array.from({ length: 8 }, async (_, seed) => {
      for await (const _ of start(seed, 200)) await null
    }),
  )
  monitor.disable()
  delays.push(monitor.percentile(99) / 1e6)
}

const story = start(9, 60)
const blockedUntil = performance.now() + 1000
while (performance.now() < blockedUntil);
let ended = false
story.result().then(() => (ended = true))
await sleep(100)
const { timings, tokens, finishReason } = await story.result()
process.stdout.write(JSON.stringify({ delays, ended, timings, tokens: tokens.length, finishReason }))
