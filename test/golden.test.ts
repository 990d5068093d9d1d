/**
 * The native engine against Hugging Face's outputs: logits, hidden states and greedy tokens of every golden checkpoint that
 * it runs.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openCheckpoint } from '../src/formats/index.js'
import { compilePlan } from '../src/graph/compile.js'
import { callNative, native, type NativeEngine } from '../src/native.js'
import { type Golden, goldenRows, huggingFace, largestDifference, readGolden } from './support/goldens.js'

const plainGguf = ['gguf/llama', 'gguf/llama_rope_llama3', 'gguf/qwen2', 'gguf/qwen3', 'gguf/phi3', 'gguf/gemma2', 'gguf/gemma3_text', 'gguf/gpt2']
const quantizedGguf = ['gguf/llama_mixed_quants', 'gguf/llama_k_quants']

async function withEngine<T>(path: string, run: (engine: NativeEngine, vocabSize: number) => Promise<T>): Promise<T> {
  const plan = await compilePlan(await openCheckpoint(path), { capture: true })
  const options = { threads: 2, isa: '', kvType: 'f32', cacheTokens: 512, batchTokens: 64, maxQueue: 1, mmap: true } as const
  const engine = await callNative(() => native().createEngine(JSON.stringify(plan), null, options))
  try {
    return await run(engine, plan.vocabSize)
  } finally {
    await engine.dispose()
  }
}

/** The logits and every hidden state that the golden has, for both rows of its batch in one ragged step. */
async function compareOutputs(golden: Golden, path: string): Promise<void> {
  await withEngine(path, async (engine) => {
    const rows = goldenRows(golden)
    const batch = rows.map(({ tokens }, sequence) => ({ sequence, tokens: Int32Array.from(tokens) }))
    const outputs = await callNative(() => engine.evaluate(batch))
    const names = [...golden.tensors.keys()].filter((name) => name === 'logits' || name.startsWith('hidden_states.'))
    expect(Object.keys(outputs)).toEqual(expect.arrayContaining(names))
    for (const name of names) {
      const expected = rows.flatMap((row) => [...row.expected(name)])
      expect(largestDifference(outputs[name]!, expected), name).toBeLessThanOrEqual(golden.tolerance[name]!.atol)
    }
  })
}

/** Feeds the first row, then its own best token, one at a time. */
async function compareGreedy(golden: Golden, path: string): Promise<void> {
  await withEngine(path, async (engine, vocabSize) => {
    const expected = [...golden.tensors.get('greedy_ids')!.data]
    const generated: number[] = []
    let tokens = Int32Array.from(goldenRows(golden)[0]!.tokens)
    for (const _ of expected) {
      const { logits } = await callNative(() => engine.evaluate([{ sequence: 7, tokens }]))
      const last = logits!.subarray(logits!.length - vocabSize)
      const best = last.indexOf(last.reduce((a, b) => Math.max(a, b), -Infinity))
      generated.push(best)
      tokens = Int32Array.of(best)
    }
    expect(generated).toEqual(expected)
  })
}

function softmax(logits: ArrayLike<number>): number[] {
  const values = Array.from(logits)
  const most = values.reduce((a, b) => Math.max(a, b), -Infinity)
  const powers = values.map((x) => Math.exp(x - most))
  const sum = powers.reduce((a, b) => a + b, 0)
  return powers.map((x) => x / sum)
}

/** int8 activations move probabilities; twice of what llama.cpp's do is allowed. */
async function compareProbabilities(golden: Golden): Promise<void> {
  const { max_probability_difference: theirs } = JSON.parse(readFileSync(join(golden.folder, 'llama_cpp.json'), 'utf8'))
  await withEngine(join(golden.folder, 'model.gguf'), async (engine, vocabSize) => {
    const [row] = goldenRows(golden)
    const { logits } = await callNative(() => engine.evaluate([{ sequence: 0, tokens: Int32Array.from(row!.tokens) }]))
    const expected = row!.expected('logits')
    let largest = 0
    row!.tokens.forEach((_, t) => {
      const at = (all: Float32Array | Float64Array) => softmax(all.subarray(t * vocabSize, (t + 1) * vocabSize))
      largest = Math.max(largest, largestDifference(at(logits!), at(expected)))
    })
    expect(largest).toBeLessThanOrEqual(2 * theirs)
  })
}

describe('golden', () => {
  for (const name of [...huggingFace, ...plainGguf]) {
    const golden = readGolden(name)
    const path = golden && (name.startsWith('gguf/') ? join(golden.folder, 'model.gguf') : golden.folder)
    it.skipIf(!golden)(`${name} gives the logits and hidden states of Hugging Face`, () => compareOutputs(golden!, path!))
    it.skipIf(!golden)(`${name} continues greedily as Hugging Face does`, () => compareGreedy(golden!, path!))
  }
  for (const name of quantizedGguf) {
    const golden = readGolden(name)
    const compared = golden !== null && existsSync(join(golden.folder, 'llama_cpp.json'))
    it.skipIf(!compared)(`${name} is at most twice as far from Hugging Face as llama.cpp is`, () =>
      compareProbabilities(golden!),
    )
    it.skipIf(!golden)(`${name} continues greedily as Hugging Face does`, () =>
      compareGreedy(golden!, join(golden!.folder, 'model.gguf')),
    )
  }
})
