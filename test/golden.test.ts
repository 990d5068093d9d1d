/**
 * The native engine against Hugging Face's outputs: logits, hidden states and greedy tokens of every golden checkpoint that
 * it runs.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { callNative } from '../src/native.js'
import { compareGreedy, compareOutputs, withEngine } from './support/golden-runs.js'
import { type Golden, goldenRows, huggingFace, largestDifference, readGolden } from './support/goldens.js'

const plainGguf = [
  'gguf/llama',
  'gguf/llama_rope_llama3',
  'gguf/llama_moe',
  'gguf/qwen2',
  'gguf/qwen3',
  'gguf/qwen3_moe',
  'gguf/phi3',
  'gguf/gemma2',
  'gguf/gemma3_text',
  'gguf/gpt2',
]
const quantizedGguf = ['gguf/llama_mixed_quants', 'gguf/llama_k_quants']

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
  const longRope = readGolden('phi3_longrope')
  it.skipIf(!longRope)('phi3_longrope turns a text within the original context as a short one', async () => {
    const tokens = Int32Array.from(longRope!.tensors.get('short.input_ids')!.data)
    await withEngine(longRope!.folder, async (engine) => {
      const short = await callNative(() => engine.evaluate([{ sequence: 0, tokens }]))
      const expected = longRope!.tensors.get('short.logits')!.data
      const { atol } = longRope!.tolerance.logits!
      expect(largestDifference(short.logits!, expected)).toBeLessThanOrEqual(atol)
      // One that may become longer is another text from its first token on.
      const long = await callNative(() => engine.evaluate([{ sequence: 1, tokens, longest: 17 }]))
      expect(largestDifference(long.logits!, expected)).toBeGreaterThan(100 * atol)
      const within = await callNative(() => engine.evaluate([{ sequence: 2, tokens, longest: 16 }]))
      expect(within.logits).toEqual(short.logits)
    })
  })
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
