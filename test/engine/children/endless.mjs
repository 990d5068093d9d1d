// A worker thread, to be terminated: generates, scores and tokenizes, one text after the other.
import { parentPort } from 'node:worker_threads'
import { Model } from '../../../dist/index.js'

parentPort.postMessage('loading')
const model = await Model.load()
let begun = false
const generate = async (seed) => {
  for (;;) {
    for await (const _ of model.generate('Once', { seed, maxTokens: 400, logprobs: 2 })) {
      if (!begun) parentPort.postMessage('generating')
      begun = true
    }
  }
}
const score = async () => {
  for (;;) await model.score('Once upon a time there was a king.')
}
const tokenize = async () => {
  for (;;) await model.tokenize('Once upon a time there was a king. '.repeat(20))
}
await Promise.all([...[1, 2, 3].map(generate), score(), tokenize()])
