// Which sentence is the likelier one?
import { Model } from 'infernode'

const model = await Model.load()
for (const sentence of ['The king had a beautiful daughter.', 'The king had a beautiful carburettor.']) {
  const { perplexity, logprobs } = await model.score(sentence)
  console.log(`perplexity ${perplexity.toFixed(1).padStart(7)} over ${logprobs.length} tokens: ${sentence}`)
}
await model.dispose()
