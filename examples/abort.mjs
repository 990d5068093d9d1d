// Two ways to end early: leave the loop, or trigger an AbortSignal.
import { Model } from 'infernode'

const model = await Model.load()

const story = model.generate('The king said', { maxTokens: 400, seed: 1 })
let sentence = ''
for await (const piece of story) {
  sentence += piece.text
  if (sentence.includes('.')) break // the request leaves the batch
}
console.log(sentence, (await story.result()).finishReason)

try {
  await model.generate('The king said', { maxTokens: 400, signal: AbortSignal.timeout(1) }).result()
  console.log('a fast machine: it was done within a millisecond')
} catch (error) {
  console.log(error.code, error.cause.name) // ABORTED TimeoutError
}
await model.dispose()
