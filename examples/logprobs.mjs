// What the model could have said: each token's probability and its two best rivals.
import { Model } from 'infernode'

const model = await Model.load()
const { logprobs } = await model.generate('Once upon a', { maxTokens: 8, temperature: 0, logprobs: 3 }).result()
const percent = (logprob) => `${(100 * Math.exp(logprob)).toFixed(1)} %`
for (const { token, logprob, top } of logprobs) {
  const rivals = top.filter((other) => other.token !== token).slice(0, 2)
  const words = await Promise.all(
    rivals.map(async (other) => `${JSON.stringify(await model.decode([other.token]))} ${percent(other.logprob)}`),
  )
  console.log(JSON.stringify(await model.decode([token])).padEnd(12), percent(logprob).padStart(7), ' not', words.join(', '))
}
await model.dispose()
