// A worker thread, to be terminated: generates one text after the other.
import { parentPort } from 'node:worker_threads'
import { Model } from '../../../dist/index.js'

parentPort.postMessage('loading')
const model = await Model.load()
let begun = false
const generate = async (seed) => {
  for (;;) {
    for await (const _ of model.generate('Once', { seed, maxTokens: 400, stopTokens: [] })) {
      if (!begun) parentPort.postMessage('generating')
      begun = true
    }
  }
}
await Promise.all([1, 2, 3].map(generate))
