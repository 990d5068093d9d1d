// What loading the same file again in workers costs: mappings and threads. Arguments: number of workers, mmap ("true" or "false").
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import { Model } from '../../../dist/index.js'

const [, , nWorkers, mmap] = process.argv
const options = { mmap: mmap === 'true', cacheTokens: 256, threads: 2 }
const report = () => {
  const names = readdirSync('/proc/self/task').map((id) => readFileSync(`/proc/self/task/${id}/comm`, 'utf8').trim())
  const maps = readFileSync('/proc/self/maps', 'utf8').split('\n')
  return {
    threads: names.filter((name) => name.startsWith('inf')).sort(),
    mappings: maps.filter((line) => line.includes('fairytale')).length,
  }
}

const source = `
  const { parentPort, workerData } = require('node:worker_threads')
  const step = (wanted) => new Promise((resolve) => parentPort.once('message', resolve))
  ;(async () => {
    const { Model } = await import(workerData.index)
    parentPort.postMessage('ready')
    await step()
    const model = await Model.load(undefined, workerData.options)
    const { tokens } = await model.generate('Once upon a time', { seed: 1, maxTokens: 20 }).result()
    parentPort.postMessage(tokens)
    await step()
    await model.dispose()
    parentPort.postMessage('disposed')
  })()`
const workerData = { index: new URL('../../../dist/index.js', import.meta.url).href, options }
const workers = Array.from({ length: Number(nWorkers) }, () => new Worker(source, { eval: true, workerData }))
await Promise.all(workers.map((worker) => once(worker, 'message')))
const model = await Model.load(undefined, options)
const { tokens } = await model.generate('Once upon a time', { seed: 1, maxTokens: 20 }).result()
const alone = report()
const answers = await Promise.all(
  workers.map(async (worker) => {
    const answer = once(worker, 'message')
    worker.postMessage('load')
    return (await answer)[0]
  }),
)
const together = report()
await Promise.all(
  workers.map(async (worker) => {
    const disposed = once(worker, 'message')
    worker.postMessage('dispose')
    await disposed
    await worker.terminate()
  }),
)
await model.dispose()
const after = report()
const same = answers.every((answer) => JSON.stringify(answer) === JSON.stringify(tokens))
process.stdout.write(JSON.stringify({ alone, together, after, same }))
