/**
 * How fast is generation beside busy neighbours? `npm run bench:busy-neighbour -- [--model path] [--pairs 7] [--tokens 24] [--threads n] [--json]`.
 * Alternates quiet rounds with rounds beside one spinning process per core, on a llama of 1.1B in q8_0 by default, and compares the
 * medians. A fair kernel gives each of two threads on a core half of it, so 50 % is what a perfect engine gets; the promise is 45 %.
 */
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { Model } from '../dist/index.js'
import { besideSpinners } from './spinners.mjs'
import { syntheticModel } from './synthetic.mjs'

const { values: args } = parseArgs({
  options: {
    model: { type: 'string' },
    pairs: { type: 'string', default: '7' },
    tokens: { type: 'string', default: '24' },
    threads: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
})
const promised = 0.45
const nTokens = Number(args.tokens)
const model = await Model.load(args.model ?? (await syntheticModel('q8_0')), args.threads ? { threads: Number(args.threads) } : {})
const noEnd = Object.fromEntries(model.info.eosTokenIds.map((id) => [id, -Infinity]))

async function tokensPerSecond() {
  const { timings } = await model.generate('Once upon a time', { maxTokens: nTokens, temperature: 0, logitBias: noEnd }).result()
  return timings.tokensPerSecond
}

const cores = availableParallelism()
await tokensPerSecond() // pages the file in
const pairs = []
for (let i = 0; i < Number(args.pairs); i++) pairs.push({ quiet: await tokensPerSecond(), busy: await besideSpinners(tokensPerSecond) })
await model.dispose()

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1]
const quiet = median(pairs.map((pair) => pair.quiet))
const busy = median(pairs.map((pair) => pair.busy))
const shares = pairs.map((pair) => pair.busy / pair.quiet)
const result = { quiet, busy, share: median(shares), least: Math.min(...shares), most: Math.max(...shares), promised, threads: model.info.threads, cores }
if (args.json) console.log(JSON.stringify({ ...result, pairs }))
else {
  const percent = (share) => `${(100 * share).toFixed(0)} %`
  console.log(`${model.info.name}, ${model.info.threads} threads on ${cores} cores: quiet ${quiet.toFixed(2)} tokens/s, beside ${cores} spinners ${busy.toFixed(2)}`)
  console.log(`median of ${pairs.length} pairs: ${percent(result.share)} (${percent(result.least)}–${percent(result.most)}); promised are ${percent(promised)}`)
}
process.exitCode = result.share >= promised ? 0 : 1
