// Gives the engine damaged plans, from one number to another, and says before each which one it is.
import { native } from '../../../dist/native.js'
import { readFileSync, writeSync } from 'node:fs'

const [, , file, first, end] = process.argv
const { plan, mutations } = JSON.parse(readFileSync(file, 'utf8'))
const addon = native()
const options = { threads: 2, isa: '', kvType: 'f16', cacheTokens: 128, batchTokens: 16, maxQueue: 4, mmap: true }
const tally = {}
const count = (outcome) => (tally[outcome] = (tally[outcome] ?? 0) + 1)

for (let i = Number(first); i < Number(end); i++) {
  writeSync(2, `#${i}\n`)
  let engine
  try {
    engine = await addon.createEngine(mutations[i] ?? plan, null, options)
  } catch (error) {
    if (!error.infernodeCode) throw new Error(`#${i} rejects with ${error.stack}`)
    count(error.infernodeCode)
    continue
  }
  try {
    const tokens = Int32Array.of(1, 2, 3)
    const inputs = Object.fromEntries(
      (JSON.parse(mutations[i]).inputs ?? []).map(({ name, value }) => [
        name,
        new Float32Array(3 * JSON.parse(mutations[i]).values[value].width),
      ]),
    )
    await engine.evaluate(
      [
        { sequence: 0, tokens },
        { sequence: 1, tokens },
      ],
      inputs,
    )
    await engine.evaluate([{ sequence: 0, tokens: tokens.slice(1) }], inputs)
    count('runs')
  } catch (error) {
    if (!error.infernodeCode) throw new Error(`#${i} rejects with ${error.stack}`)
    count(`runs into ${error.infernodeCode}`)
  }
  await engine.dispose()
}
process.stdout.write(JSON.stringify(tally))
