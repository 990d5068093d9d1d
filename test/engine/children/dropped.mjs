// Is the checkpoint still mapped after dispose(), and after a model was forgotten without it? Linux; needs --expose-gc.
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Model } from '../../../dist/index.js'

const mapped = () => readFileSync('/proc/self/maps', 'utf8').includes('fairytale')
const unmapped = async (collect) => {
  for (let i = 0; i < 200 && mapped(); i++) {
    if (collect) globalThis.gc()
    await sleep(10)
  }
  return !mapped()
}

const kept = await Model.load()
const loaded = mapped()
await kept.generate('Once', { maxTokens: 3 }).result()
await kept.dispose()
const afterDispose = !mapped()

await (async () => {
  const model = await Model.load()
  await model.generate('Once', { maxTokens: 3 }).result()
})()
const afterDrop = await unmapped(true)

// A text that is still in the making keeps its engine, until it ends.
let result
await (async () => {
  const model = await Model.load()
  result = model.generate('Once', { seed: 1, maxTokens: 100 }).result()
})()
globalThis.gc()
const { usage } = await result
result = undefined
const afterText = await unmapped(true)
process.stdout.write(
  JSON.stringify({ loaded, afterDispose, afterDrop, tokens: usage.completionTokens > 0, afterText, info: kept.info.name }),
)
