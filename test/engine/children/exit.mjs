// Generates until the process ends: by process.exit() after so many milliseconds, or by a signal from outside.
import { Worker } from 'node:worker_threads'
import { Model } from '../../../dist/index.js'

const [, , how, milliseconds, code] = process.argv
console.log('begun')
if (how === 'exit') setTimeout(() => process.exit(Number(code)), Number(milliseconds))
if (how === 'worker') new Worker(new URL('./endless.mjs', import.meta.url))
const model = await Model.load()
if (how === 'exit at load') process.exit(Number(code))
if (how === 'throw')
  setTimeout(() => {
    throw new Error('on purpose')
  }, Number(milliseconds))
if (how === 'worker') setTimeout(() => process.exit(Number(code)), Number(milliseconds))
const generate = async (seed) => {
  for (;;) {
    const story = model.generate('Once upon a time', { seed, maxTokens: 400 })
    for await (const _ of story) if (how === 'exit inside' && Math.random() < 0.02) process.exit(Number(code))
  }
}
if (how === 'end') {
  await model.generate('Once', { maxTokens: 5 }).result()
  process.exitCode = Number(code)
} else await Promise.all([1, 2, 3].map(generate))
