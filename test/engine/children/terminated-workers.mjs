// Terminates workers while they load and while they generate; the main thread's own texts must stay what they were.
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { Model } from '../../../dist/index.js'

const rounds = Number(process.argv[2])
const model = await Model.load()
const text = async (seed) => (await model.generate('Once upon a time', { seed, maxTokens: 60 }).result()).text
const expected = [await text(1), await text(2)]
let different = 0
let working = true
const main = (async () => {
  for (let i = 0; working; i++) if ((await text(1 + (i % 2))) !== expected[i % 2]) different++
})()
for (let i = 0; i < rounds; i++) {
  const worker = new Worker(new URL('./endless.mjs', import.meta.url))
  const until = i % 2 ? 'generating' : 'loading'
  for (;;) if ((await once(worker, 'message'))[0] === until) break
  await sleep((i * 7) % 20)
  await worker.terminate()
}
working = false
await main
const used = model.stats()
// Where the system tells it: what is mapped still, when only this thread's model is left.
let mappings = null
if (process.platform === 'linux') {
  for (let i = 0; i < 100; i++) {
    mappings = readFileSync('/proc/self/maps', 'utf8')
      .split('\n')
      .filter((line) => line.includes('fairytale')).length
    if (mappings <= 1) break
    await sleep(20)
  }
}
await model.dispose()
const after = process.platform === 'linux' ? readFileSync('/proc/self/maps', 'utf8').includes('fairytale') : false
console.log(JSON.stringify({ different, running: used.running, mappings, after }))
process.exitCode = 7
