/**
 * How far quantized weights move the next token's distribution: the Kullback-Leibler divergence of a file's logits from those of the
 * f32 file, computed here and by llama.cpp, on the same files and ids; and how far a KV cache of q8_0 moves that of the f32 file.
 * `npm run bench:divergence -- [--types q8_0,q4_k] [--texts 4] [--tokens 250] [--model path] [--json]`; without --model the fairy-tale
 * model in ../shared/models, in every type that can be written, and where it is there Gemma 3 270M as it was published (a mixture of
 * types) against itself in f32.
 *
 * Every side is compared with f32 logits of its own, so that differences of arithmetic in f32 count for nobody; `between` is the
 * divergence of one side's f32 logits from the other's. Fewer texts for Gemma, whose 262,144 logits llama.cpp's binding hands over one
 * by one.
 */
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { installPeers, peerModule } from './peers/install.mjs'

const here = dirname(fileURLToPath(import.meta.url))
const models = process.env.INFERNODE_TEST_MODELS ?? join(here, '../../shared/models')
const { values: args } = parseArgs({
  options: {
    model: { type: 'string' },
    types: { type: 'string' },
    tokens: { type: 'string', default: '250' },
    texts: { type: 'string', default: '4' },
    json: { type: 'boolean', default: false },
  },
})
installPeers()
const { getLlama, LlamaLogLevel } = await import(peerModule())
const { Model, quantize } = await import('../dist/index.js')
const { targetTypes } = await import('../dist/convert.js')
const { openCheckpoint } = await import('../dist/formats/index.js')
const { compilePlan } = await import('../dist/graph/compile.js')
const { native } = await import('../dist/native.js')

const llama = await getLlama({ gpu: false, build: 'never', maxThreads: 2, logLevel: LlamaLogLevel.error })
const folder = mkdtempSync(join(tmpdir(), 'infernode-'))
const nTexts = Number(args.texts)
const rows = []
try {
  const fairytale = join(models, 'fairytale/hf')
  const gemma = join(models, 'gemma3-270m/gemma-3-270m.gguf')
  const types = args.types?.split(',') ?? targetTypes().filter((type) => type !== 'f32')
  if (args.model) await compare(args.model, await inF32(args.model, nTexts), types)
  else {
    if (existsSync(fairytale)) await compare(fairytale, await inF32(fairytale, nTexts), types)
    else process.stderr.write(`SKIPPED: there is no ${fairytale}\n`)
    if (existsSync(gemma)) await compareFiles('gemma-3-270m, as published', gemma, await inF32(gemma, Math.ceil(nTexts / 4)))
    else process.stderr.write(`SKIPPED: there is no ${gemma}\n`)
  }
} finally {
  rmSync(folder, { recursive: true })
  await llama.dispose()
}
if (args.json) process.stdout.write(`${JSON.stringify({ date: new Date().toISOString(), llamaCpp: llama.llamaCppRelease.release, rows })}\n`)
else console.table(rows)

/** Texts of the model itself, and logits of both sides for them, with all weights in f32. */
async function inF32(input, nTexts) {
  const path = join(folder, 'reference.gguf')
  await quantize(input, path, { type: 'f32', overwrite: true, allowRequantize: true })
  const texts = await textsOf(path, nTexts)
  const reference = { texts, ours: await ourLogits(path, texts), theirs: await theirLogits(path, texts) }
  await compareFiles(`${input.split('/').slice(-2).join('/')}, f32 with a cache of q8_0`, path, reference, 'q8_0')
  return reference
}

async function compare(input, reference, types) {
  for (const type of types) {
    const path = join(folder, 'model.gguf')
    await quantize(input, path, { type, overwrite: true, allowRequantize: true })
    await compareFiles(`${input.split('/').slice(-2).join('/')} ${type}`, path, reference)
  }
}

async function compareFiles(name, path, { texts, ...reference }, kvType = 'f16') {
  const ours = divergences(reference.ours, await ourLogits(path, texts, kvType))
  const theirs = divergences(reference.theirs, await theirLogits(path, texts, kvType))
  const differences = ours.map((value, i) => value - theirs[i])
  rows.push({
    file: name,
    'KL, ours': digits(mean(ours)),
    'KL, llama.cpp': digits(mean(theirs)),
    'ours / llama.cpp': digits(mean(ours) / mean(theirs)),
    // Positions are paired: the same text before them on both sides.
    'ours - llama.cpp': digits(mean(differences)),
    'its standard error': digits(standardError(differences)),
    'largest, ours': digits(Math.max(...ours)),
    'largest, llama.cpp': digits(Math.max(...theirs)),
    between: digits(mean(divergences(reference.theirs, reference.ours))),
    positions: ours.length,
  })
  process.stderr.write(`${Object.values(rows.at(-1)).join('  ')}\n`) // it takes minutes on a busy machine
}

/** What the model says itself, at random, without an end: what it is used for, in any number of tokens. */
async function textsOf(path, count) {
  const model = await Model.load(path, { cacheTokens: 1024 })
  const logitBias = Object.fromEntries(model.info.eosTokenIds.map((id) => [id, -Infinity]))
  const prompt = await model.encode('Once upon a time')
  const texts = []
  for (let seed = 1; seed <= count; seed++) {
    const options = { maxTokens: Number(args.tokens) - prompt.length, temperature: 1, topK: 0, topP: 1, minP: 0, seed, logitBias }
    const { tokens } = await model.generate(prompt, options).result()
    texts.push([...prompt, ...tokens])
  }
  await model.dispose()
  return texts
}

async function ourLogits(path, texts, kvType = 'f16') {
  const plan = await compilePlan(await openCheckpoint(path))
  const options = { threads: 2, isa: process.env.INFERNODE_ISA ?? '', kvType, cacheTokens: 1024, batchTokens: 512, maxQueue: 1, mmap: true }
  const engine = await native().createEngine(JSON.stringify(plan), null, options)
  const found = []
  for (const ids of texts) {
    const { logits } = await engine.evaluate([{ sequence: 0, tokens: Int32Array.from(ids) }])
    engine.forget(0)
    const width = logits.length / ids.length
    ids.forEach((_, t) => found.push(logits.subarray(t * width, (t + 1) * width)))
  }
  await engine.dispose()
  return found
}

async function theirLogits(path, texts, kvType = 'f16') {
  const model = await llama.loadModel({ modelPath: path, gpuLayers: 0 })
  const q8_0 = { experimentalKvCacheKeyType: 'Q8_0', experimentalKvCacheValueType: 'Q8_0', flashAttention: true } // which it needs for that
  const context = await model.createContext({ contextSize: 512, batchSize: 512, threads: 2, flashAttention: false, ...(kvType === 'q8_0' && q8_0) })
  const sequence = context.getSequence()
  const found = []
  for (const ids of texts) {
    await sequence.clearHistory()
    for (const { next } of await sequence.controlledEvaluate(ids.map((id) => [id, { generateNext: { logits: true } }]))) {
      const values = new Float32Array(next.logits.size)
      for (const [id, value] of next.logits) values[id] = value
      found.push(values)
    }
  }
  await context.dispose()
  await model.dispose()
  return found
}

function divergences(reference, logits) {
  return reference.map((p, t) => divergence(p, logits[t]))
}

function mean(values) {
  return values.reduce((a, b) => a + b, 0) / values.length
}

function standardError(values) {
  const centre = mean(values)
  return Math.sqrt(mean(values.map((value) => (value - centre) ** 2)) / (values.length - 1))
}

/** Σ p · (ln p - ln q), in nats; in double precision, since small differences of large sums are what counts. */
function divergence(p, q) {
  const [logP, logQ] = [logSoftmax(p), logSoftmax(q)]
  let sum = 0
  for (let i = 0; i < logP.length; i++) sum += Math.exp(logP[i]) * (logP[i] - logQ[i])
  return Math.max(sum, 0)
}

function logSoftmax(logits) {
  let most = -Infinity
  for (const value of logits) most = Math.max(most, value)
  let sum = 0
  for (const value of logits) sum += Math.exp(value - most)
  const shift = most + Math.log(sum)
  return Float64Array.from(logits, (value) => value - shift)
}

function digits(value) {
  return Number(value.toPrecision(3))
}
