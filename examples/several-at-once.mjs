// Several requests share one model: they are computed together, and none changes what another one says.
import { Model } from 'infernode'

const model = await Model.load()
const prompts = ['The wolf', 'The princess', 'The old woman', 'The tin man']
const results = await Promise.all(prompts.map((prompt) => model.generate(prompt, { maxTokens: 20, seed: 3 }).result()))
results.forEach(({ text }, i) => console.log(`${prompts[i]}${text.replaceAll('\n', ' ')}`))
await model.dispose()
