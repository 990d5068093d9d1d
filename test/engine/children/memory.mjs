// RSS after each of many rounds of use, in bytes; and what is left at the end. Needs --expose-gc. Arguments: cycles of loading, generating
// and disposing; cancelled requests.
import { setTimeout as sleep } from 'node:timers/promises'
import { Model } from '../../../dist/index.js'

const [nCycles, nCancelled] = process.argv.slice(2).map(Number)
const handles = () => process.getActiveResourcesInfo().filter((name) => name !== 'Timeout').sort()
const rss = async () => {
  for (let i = 0; i < 2; i++) {
    globalThis.gc()
    await sleep(1)
  }
  return process.memoryUsage.rss()
}
const series = async (rounds, work) => {
  const seen = []
  for (let i = 0; i < rounds; i++) {
    await work(i)
    seen.push(await rss())
  }
  return seen
}

// Node starts threads and streams of its own on first use.
await (await Model.load()).dispose()
const before = handles()

// Models that stay referenced after dispose() show what dispose() itself frees.
const disposed = []
const cycles = await series(nCycles, async (i) => {
  const model = await Model.load(undefined, { cacheTokens: 2048, mmap: i % 2 === 0 })
  await Promise.all([1, 2, 3].map((seed) => model.generate(`Story ${i}`, { seed, maxTokens: 12 }).result()))
  await model.dispose()
  disposed.push(model)
  if (disposed.length > 5) disposed.shift()
})

// Left by break, aborted by a signal, and aborted while they wait; a measurement after each ten.
const model = await Model.load(undefined, { cacheTokens: 1024 })
const one = async (i) => {
  if (i % 3 === 0) {
    const controller = new AbortController()
    const result = model.generate('Once upon a time', { seed: i, maxTokens: 100, signal: controller.signal }).result()
    setTimeout(() => controller.abort(), i % 4)
    await result.catch((error) => {
      if (error.code !== 'ABORTED') throw error
    })
  } else {
    let n = 0
    for await (const _ of model.generate('Once upon a time there was', { seed: i, maxTokens: 100, logprobs: 5 })) if (++n > i % 4) break
  }
}
const cancelled = await series(Math.ceil(nCancelled / 10), (round) =>
  Promise.all(Array.from({ length: 10 }, (_, i) => one(10 * round + i))),
)
for (let i = 0; i < 500 && model.stats().running > 0; i++) await sleep(2)
const { running, waiting, freePages, totalPages } = model.stats()
await model.dispose()
await sleep(20)
const left = handles()
for (const name of before) if (left.includes(name)) left.splice(left.indexOf(name), 1)
process.stdout.write(JSON.stringify({ cycles, cancelled, running, waiting, freePages, totalPages, left }))
