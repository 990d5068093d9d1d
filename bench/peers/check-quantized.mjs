/**
 * Files that infernode writes, read by llama.cpp: every type that can be encoded, greedy tokens, logits and perplexity of both.
 * `node bench/peers/check-quantized.mjs [--model path] [--types q8_0,q4_k] [--tokens 48] [--json]`; without --model the fairy-tale
 * model in ../shared/models (a Hugging Face folder), and Gemma 3 270M (a GGUF file, quantized already) where it is there.
 */
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { installPeers } from './install.mjs'

const root = join(dirname(fileURLToPath(import.meta.url)), '../..')
const models = process.env.INFERNODE_TEST_MODELS ?? join(root, '../shared/models')
const { values: args } = parseArgs({
  options: {
    model: { type: 'string' },
    types: { type: 'string' },
    tokens: { type: 'string', default: '48' },
    json: { type: 'boolean', default: false },
  },
})
const greedyTokens = 32
const text = `Once upon a time there was a poor woodcutter who lived with his wife and his two children at the edge of a great
forest. They had little to eat, and when a great famine came into the land he could no longer find their daily bread. One evening,
as he lay in bed and thought about it, he sighed and said to his wife: what is to become of us?`

installPeers()
const { getLlama, LlamaLogLevel } = await import('node-llama-cpp')
const { Model, quantize } = await import('../../dist/index.js')
const { targetTypes } = await import('../../dist/convert.js')
const { openCheckpoint } = await import('../../dist/formats/index.js')
const { compilePlan } = await import('../../dist/graph/compile.js')
const { native } = await import('../../dist/native.js')

const llama = await getLlama({ gpu: false, build: 'never', maxThreads: 2, logLevel: LlamaLogLevel.error })
const inputs = args.model
  ? [args.model]
  : ['fairytale/hf', 'gemma3-270m/gemma-3-270m.gguf'].map((path) => join(models, path)).filter(existsSync)
const types = args.types?.split(',') ?? targetTypes()
const folder = mkdtempSync(join(tmpdir(), 'infernode-'))
const rows = []
try {
  for (const input of inputs)
    for (const type of types) {
      const path = join(folder, 'model.gguf')
      const report = await quantize(input, path, { type, overwrite: true, allowRequantize: true })
      rows.push(await compare(input, type, path, report))
      // It takes minutes on a busy machine.
      process.stderr.write(`${Object.values(rows.at(-1)).join('  ')}\n`)
    }
} finally {
  rmSync(folder, { recursive: true })
}
if (args.json) process.stdout.write(`${JSON.stringify({ llamaCpp: llama.llamaCppRelease.release, rows })}\n`)
else console.table(rows)
await llama.dispose()

async function compare(input, type, path, { tensors }) {
  const all = await ourIds(path)
  const ids = all.slice(0, Number(args.tokens))
  const [ours, theirs] = [await ourSide(path, ids), await theirSide(path, ids)]
  const width = ours.logits.length / ids.length
  let [largest, deviation, ourNll, theirNll] = [0, 0, 0, 0]
  let sameBest = 0
  for (let t = 0; t < ids.length; t++) {
    const [a, b] = [ours.logits.subarray(t * width, (t + 1) * width), theirs.logits[t]]
    for (let i = 0; i < width; i++) largest = Math.max(largest, Math.abs(a[i] - b[i]))
    sameBest += bestOf(a) === bestOf(b) ? 1 : 0
    if (t + 1 === ids.length) continue
    const [p, q] = [logProbability(a, ids[t + 1]), logProbability(b, ids[t + 1])]
    deviation += Math.abs(p - q)
    ourNll -= p
    theirNll -= q
  }
  const n = ids.length - 1
  const greedy = ours.greedy.findIndex((id, i) => id !== theirs.greedy[i])
  const errors = tensors.filter(({ rmse }) => rmse > 0).map(({ rmse, rms }) => rmse / rms)
  return {
    model: input.split('/').slice(-2).join('/'),
    type,
    MiB: round(statSync(path).size / 2 ** 20, 2),
    'rmse / rms': round(errors.length ? Math.max(...errors) : 0, 4),
    'same greedy tokens': `${greedy < 0 ? greedyTokens : greedy} of ${greedyTokens}`,
    'same best token': `${sameBest} of ${ids.length}`,
    'largest logit difference': round(largest, 4),
    'mean |Δ ln p|': round(deviation / n, 5),
    'perplexity, ours': round(Math.exp(ourNll / n), 4),
    'perplexity, llama.cpp': round(Math.exp(theirNll / n), 4),
  }
}

async function ourIds(path) {
  const model = await Model.load(path)
  const ids = [...(await model.encode(text))]
  await model.dispose()
  return ids
}

async function ourSide(path, ids) {
  const plan = await compilePlan(await openCheckpoint(path))
  const options = { threads: 2, isa: '', kvType: 'f16', cacheTokens: 512, batchTokens: 512, maxQueue: 1, mmap: true }
  const engine = await native().createEngine(JSON.stringify(plan), null, options)
  const { logits } = await engine.evaluate([{ sequence: 0, tokens: Int32Array.from(ids) }])
  await engine.dispose()
  const model = await Model.load(path)
  const { tokens } = await model.generate(ids.slice(0, 16), { temperature: 0, repetitionPenalty: 1, maxTokens: greedyTokens }).result()
  await model.dispose()
  return { logits, greedy: [...tokens] }
}

async function theirSide(path, ids) {
  const model = await llama.loadModel({ modelPath: path, gpuLayers: 0 })
  const context = await model.createContext({ contextSize: 512, batchSize: 512, threads: 2, flashAttention: false })
  const sequence = context.getSequence()
  const outputs = await sequence.controlledEvaluate(ids.map((id) => [id, { generateNext: { logits: true } }]))
  const logits = outputs.map(({ next }) => {
    const values = new Float32Array(next.logits.size)
    for (const [id, value] of next.logits) values[id] = value
    return values
  })
  await sequence.clearHistory()
  const greedy = []
  for await (const id of sequence.evaluate(ids.slice(0, 16), { temperature: 0, yieldEogToken: true }))
    if (greedy.push(id) === greedyTokens) break
  await context.dispose()
  await model.dispose()
  return { logits, greedy }
}

function bestOf(logits) {
  let best = 0
  for (let i = 1; i < logits.length; i++) if (logits[i] > logits[best]) best = i
  return best
}

function logProbability(logits, id) {
  const most = logits.reduce((a, b) => Math.max(a, b), -Infinity)
  return logits[id] - most - Math.log(logits.reduce((sum, value) => sum + Math.exp(value - most), 0))
}

function round(value, digits) {
  return Number(value.toFixed(digits))
}
