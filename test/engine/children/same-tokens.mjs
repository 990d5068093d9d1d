// A worker thread: loads, generates, and tells the tokens.
import { parentPort, workerData } from 'node:worker_threads'
import { Model } from '../../../dist/index.js'

const model = await Model.load(undefined, { threads: workerData.threads })
parentPort.postMessage('loaded')
const results = await Promise.all(
  workerData.seeds.map((seed) => model.generate('Once upon a time', { seed, maxTokens: 60 }).result()),
)
parentPort.postMessage(results.map(({ tokens }) => tokens))
if (workerData.dispose) await model.dispose()
