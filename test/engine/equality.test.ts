/** The numeric contract: the same tokens give the same bits, however they are cut into steps and whoever computes them. */
import { cp, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { embeddedModel } from '../../src/model.js'
import { callNative, native, type NativeEngine } from '../../src/native.js'
import { fixture, temporaryFolder } from '../support/checkpoints.js'
import { kvTypes, makeEngine, planOf, randomTokens, request, submit, terms } from '../support/engines.js'

const checkpoints = {
  'an f32 folder': fixture('llama'),
  'a GGUF file': fixture('gguf/llama/model.gguf'),
  'mixed quantizations': fixture('gguf/llama_mixed_quants/model.gguf'),
  'sliding windows': fixture('gguf/gemma3_text/model.gguf'),
  'layer norms and learned positions': fixture('gpt2'),
  'soft caps': fixture('gguf/gemma2/model.gguf'),
  'experts one by one': fixture('mixtral'),
  'stacked experts': fixture('gguf/qwen3_moe/model.gguf'),
  'the embedded model': embeddedModel,
}

/** Positions used of the embedded model: enough for a second page, few enough for the scalar variant. */
const mostTokens = 70

type Pieces = readonly (readonly [sequence: number, length: number])[]

/** The logits [T, vocab] of each sequence, computed in steps that take so many more tokens of the sequences named. */
async function logitsOf(engine: NativeEngine, sequences: readonly Int32Array[], steps: readonly Pieces[]): Promise<Buffer[]> {
  const parts: Buffer[][] = sequences.map(() => [])
  const computed = sequences.map(() => 0)
  for (const step of steps) {
    const batch = step.map(([sequence, length]) => {
      const start = computed[sequence]!
      computed[sequence] = start + length
      return { sequence, tokens: sequences[sequence]!.slice(start, start + length) }
    })
    const { logits } = await callNative(() => engine.evaluate(batch))
    const rows = batch.reduce((sum, { tokens }) => sum + tokens.length, 0)
    const bytes = Buffer.from(logits!.buffer, logits!.byteOffset, logits!.byteLength)
    let row = 0
    for (const { sequence, tokens } of batch) {
      const rowBytes = bytes.length / rows
      parts[sequence]!.push(bytes.subarray(row * rowBytes, (row + tokens.length) * rowBytes))
      row += tokens.length
    }
  }
  expect(computed).toEqual(sequences.map((tokens) => tokens.length))
  sequences.forEach((_, sequence) => engine.forget(sequence))
  return parts.map((buffers) => Buffer.concat(buffers))
}

/** Each sequence in steps of its own. */
const alone = (sequences: readonly Int32Array[]): Pieces[] => sequences.map(({ length }, s) => [[s, length]])

/** Each sequence by itself, in pieces of the sizes given, over and over. */
function inPieces(sequences: readonly Int32Array[], sizes: readonly number[]): Pieces[] {
  return sequences.flatMap(({ length }, sequence) => {
    const steps: Pieces[] = []
    for (let start = 0, i = 0; start < length; i++) {
      const size = Math.min(sizes[i % sizes.length]!, length - start)
      steps.push([[sequence, size]])
      start += size
    }
    return steps
  })
}

/** All sequences side by side: in every step each of them takes another number of tokens. */
function ragged(sequences: readonly Int32Array[], most: number): Pieces[] {
  const left = sequences.map(({ length }) => length)
  const steps: Pieces[] = []
  for (let i = 0; left.some((n) => n > 0); i++) {
    const step = left.flatMap((n, s): [number, number][] => {
      const size = Math.min(n, 1 + ((i * 5 + s * 3) % most))
      left[s] = n - size
      return size > 0 ? [[s, size]] : []
    })
    // Not always in the same order.
    steps.push(i % 2 ? step.reverse() : step)
  }
  return steps
}

function expectEqual(actual: readonly Buffer[], expected: readonly Buffer[], how: string): void {
  const equal = actual.map((logits, s) => logits.equals(expected[s]!))
  expect(equal, how).toEqual(expected.map(() => true))
}

describe.each(Object.entries(checkpoints))('the logits of %s', (_, path) => {
  it.each(native().info().isas)('are the same bits however they are computed, with kernels for %s', async (isa) => {
    const plan = await planOf(path)
    const n = Math.min(plan.contextLength, mostTokens)
    const sequences = [n, Math.ceil(n / 2), n - 1].map((length, s) => randomTokens(length, plan.vocabSize, 17 + s))
    for (const kvType of kvTypes) {
      const one = await makeEngine(plan, { isa, kvType, threads: 1 })
      const expected = await logitsOf(one, sequences, alone(sequences))
      expect(expected.every((logits) => logits.some((byte) => byte !== 0))).toBe(true)
      const two = await makeEngine(plan, { isa, kvType, threads: 2 })
      expectEqual(await logitsOf(two, sequences, alone(sequences)), expected, `${kvType}, two threads`)
      expectEqual(await logitsOf(two, sequences, inPieces(sequences, [3, 1, 7, 16])), expected, `${kvType}, in pieces`)
      expectEqual(await logitsOf(two, sequences, ragged(sequences, 11)), expected, `${kvType}, side by side`)
      const three = await makeEngine(plan, { isa, kvType, threads: 3 })
      expectEqual(await logitsOf(three, sequences, ragged(sequences, 30)), expected, `${kvType}, three threads, side by side`)
      expectEqual(
        await logitsOf(three, sequences.slice(0, 1), inPieces(sequences.slice(0, 1), [1])),
        expected.slice(0, 1),
        `${kvType}, one at a time`,
      )
      for (const engine of [one, two, three]) await engine.dispose()
    }
  })
})

/** The golden Gemma with another window, and a context long enough to leave it far behind. */
async function gemmaWithWindow(window: number, contextLength: number): Promise<string> {
  const folder = join(await temporaryFolder(), 'gemma')
  await cp(fixture('gemma3_text'), folder, { recursive: true })
  const config = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8'))
  await writeFile(
    join(folder, 'config.json'),
    JSON.stringify({ ...config, sliding_window: window, max_position_embeddings: contextLength }),
  )
  return folder
}

describe('sequences far longer than their window', () => {
  it.each([1, 7, 63, 64, 65, 130])('give the same bits when pages behind a window of %i come back', async (window) => {
    const plan = await planOf(await gemmaWithWindow(window, 330))
    const sequences = [330, 200].map((length, s) => randomTokens(length, plan.vocabSize, 29 + s))
    for (const kvType of ['f32', 'q8_0'] as const) {
      const options = { kvType, cacheTokens: 704, batchTokens: 512 }
      const whole = await makeEngine(plan, options)
      const expected = await logitsOf(whole, sequences, alone(sequences))
      const parts = await makeEngine(plan, options)
      expectEqual(await logitsOf(parts, sequences, inPieces(sequences, [37, 64, 1, 90])), expected, `${kvType}, in pieces`)
      expectEqual(await logitsOf(parts, sequences, ragged(sequences, 40)), expected, `${kvType}, side by side`)
      const single = sequences.slice(1)
      expectEqual(await logitsOf(parts, single, inPieces(single, [1])), expected.slice(1), `${kvType}, one at a time`)
    }
  })

  it('need only the pages of their window', async () => {
    const plan = await planOf(await gemmaWithWindow(7, 320))
    const sequences = [320, 320].map((length, s) => randomTokens(length, plan.vocabSize, 41 + s))
    const whole = await makeEngine(plan, { cacheTokens: 640 })
    const expected = await logitsOf(whole, sequences, alone(sequences))
    // Room for one of them, were nothing given back.
    const tight = await makeEngine(plan, { cacheTokens: 320 })
    const steps = inPieces(sequences, [13])
    const sideBySide = steps.slice(0, steps.length / 2).map((step, i) => [...step, ...steps[steps.length / 2 + i]!])
    expectEqual(await logitsOf(tight, sequences, sideBySide), expected, 'side by side')
    expectEqual(await logitsOf(tight, sequences, sideBySide), expected, 'again, in pages that were used before')
  })

  it('give the same log-probabilities and tokens when the scheduler cuts them', async () => {
    const plan = await planOf(await gemmaWithWindow(70, 330))
    const ids = randomTokens(330, plan.vocabSize, 43)
    const outcomes = []
    const batchTokensOfThreads = { 1: 512, 2: 64, 3: 7, 4: 1 }
    for (const [threads, batchTokens] of Object.entries(batchTokensOfThreads)) {
      const engine = await makeEngine(plan, { batchTokens, threads: Number(threads), cacheTokens: 704 })
      const generated = submit(engine, request(ids.slice(0, 100), { maxTokens: 230, seed: 5 }))
      const scored = await callNative(() => engine.score(ids, terms).result)
      expect(await generated.end).toMatchObject({ finishReason: 'length', generatedTokens: 230 })
      outcomes.push({ scored: [...scored], tokens: generated.tokens })
      await engine.dispose()
    }
    for (const outcome of outcomes) expect(outcome).toEqual(outcomes[0])
  })
})

describe('positions that depend on how long a text may become', () => {
  it('are those of its longest length from the first token on, however it is computed', async () => {
    const plan = await planOf(fixture('phi3_longrope'))
    const tokens = randomTokens(14, plan.vocabSize, 53)
    const engine = await makeEngine(plan)
    const logits = async (sequence: number, sizes: readonly number[], longest?: number) => {
      const parts: number[] = []
      let start = 0
      for (const size of sizes) {
        const batch = [{ sequence, tokens: tokens.slice(start, start + size), ...(longest && { longest }) }]
        parts.push(...(await callNative(() => engine.evaluate(batch))).logits!)
        start += size
      }
      return parts
    }
    const [short, long] = [await logits(0, [14]), await logits(1, [14], 30)]
    expect(long).not.toEqual(short)
    expect(await logits(2, [1, 6, 7], 14)).toEqual(short)
    expect(await logits(3, [1, 6, 7], 30)).toEqual(long)
  })

  it('are not taken from a request that could become longer', async () => {
    const plan = await planOf(fixture('phi3_longrope'))
    const prompt = randomTokens(12, plan.vocabSize, 59)
    const run = async (engine: NativeEngine, maxTokens: number) => {
      const watched = submit(engine, request(prompt, { maxTokens, temperature: 0, logprobs: 0 }))
      await watched.end
      return watched.tokens
    }
    const alone = await makeEngine(plan)
    const expected = await run(alone, 4)
    const shared = await makeEngine(plan)
    await run(shared, 20)
    expect(await run(shared, 4)).toEqual(expected)
  })
})
