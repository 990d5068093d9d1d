// Text as it is made, and the whole result afterwards.
import { Model } from 'infernode'

const model = await Model.load() // or the path of a GGUF file or a Hugging Face folder
const story = model.generate('Once upon a time', { maxTokens: 60, temperature: 0.8, seed: 7 })
for await (const piece of story) process.stdout.write(piece.text)

const { finishReason, usage, timings } = await story.result()
console.log(`\n${finishReason} after ${usage.completionTokens} tokens, ${timings.tokensPerSecond.toFixed(0)} tokens/s`)
await model.dispose()
