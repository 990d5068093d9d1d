// How much memory cycles of use leave behind, in bytes of RSS. Needs --expose-gc.
import { setTimeout as sleep } from 'node:timers/promises'
import { Model } from '../../../dist/index.js'

const rss = async () => {
  for (let i = 0; i < 3; i++) {
    globalThis.gc()
    await sleep(10)
  }
  return process.memoryUsage().rss
}
const halves = async (rounds, work) => {
  const seen = []
  for (let half = 0; half < 2; half++) {
    for (let i = 0; i < rounds / 2; i++) await work(i)
    seen.push(await rss())
  }
  return seen
}

// Models that stay referenced after dispose() show what dispose() itself frees.
const disposed = []
const cycles = await halves(60, async (i) => {
  const model = await Model.load(undefined, { cacheTokens: 2048 })
  await Promise.all([1, 2, 3].map((seed) => model.generate(`Story ${i}`, { seed, maxTokens: 12 }).result()))
  await model.dispose()
  disposed.push(model)
})

const model = await Model.load()
const cancelled = await halves(300, async (i) => {
  let n = 0
  for await (const _ of model.generate('Once upon a time there was', { seed: i, maxTokens: 100, logprobs: 5 }))
    if (++n > i % 4) break
})
for (let i = 0; i < 500 && model.stats().running > 0; i++) await sleep(2)
const { running, freePages, totalPages } = model.stats()
process.stdout.write(JSON.stringify({ cycles, cancelled, running, freePages, totalPages }))
