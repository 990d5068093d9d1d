/** The public Model, end to end, on the small model that comes with the package. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Model, type GenerateOptions, type LoadProgress } from '../src/index.js'
import { realModel } from './support/models.js'

const root = join(import.meta.dirname, '..')
const prompt = 'Once upon a time'
const greedy: GenerateOptions = { temperature: 0, maxTokens: 40 }

let model: Model
beforeAll(async () => {
  model = await Model.load()
})
afterAll(() => model?.dispose())

const code = (code: string) => expect.objectContaining({ name: 'InfernodeError', code })

/** Waits until no request is in the batch, as after a cancellation. */
async function idle(): Promise<void> {
  for (let i = 0; i < 500 && model.stats().running + model.stats().waiting > 0; i++) await sleep(2)
  expect(model.stats()).toMatchObject({ running: 0, waiting: 0, freePages: model.stats().totalPages })
}

describe('Model.load', () => {
  it('loads the embedded model without a path and says what it is', () => {
    expect(model.info).toMatchObject({
      architecture: 'llama',
      format: 'gguf',
      vocabSize: 2048,
      contextLength: 512,
      backend: 'cpu',
      kvType: 'f16',
    })
    expect(model.info.parameters).toBeGreaterThan(3e6)
    expect(model.info.types.q8_0).toBeGreaterThan(3e6)
    expect(model.info.threads).toBeGreaterThan(0)
    expect(model.info.promptThreads).toBe(model.info.threads)
    expect(model.info.isa).not.toBe('')
  })

  it('reports progress from 0 to 1', async () => {
    const seen: LoadProgress[] = []
    await using other = await Model.load(undefined, { onProgress: (progress) => seen.push(progress) })
    expect(other.info.name).toBe(model.info.name)
    expect(seen.map((progress) => progress.fraction)).toEqual(
      seen.map((progress) => progress.fraction).toSorted((a, b) => a - b),
    )
    expect(seen[0]!.fraction).toBe(0)
    expect(seen.at(-1)).toEqual({ stage: 'ready', fraction: 1 })
  })

  it.each([
    [{ thread: 2 }, 'UNKNOWN_OPTION'],
    [{ threads: 0 }, 'INVALID_ARGUMENT'],
    [{ promptThreads: 0 }, 'INVALID_ARGUMENT'],
    [{ backend: 'cuda' }, 'INVALID_ARGUMENT'],
    [{ kvType: 'q4_0' }, 'INVALID_ARGUMENT'],
    [{ contextLength: 100_000 }, 'INVALID_ARGUMENT'],
    [{ isa: 'mmx' }, 'ISA_UNKNOWN'],
    [{ signal: AbortSignal.abort() }, 'ABORTED'],
  ])('refuses %j', async (options, expected) => {
    await expect(Model.load(undefined, options as never)).rejects.toThrow(code(expected))
  })

  it.each([
    [join(root, 'no-such-file.gguf'), 'FILE_UNREADABLE'],
    [join(root, 'package.json'), 'FORMAT_UNKNOWN'],
    ['', 'INVALID_ARGUMENT'],
    [3 as never, 'INVALID_ARGUMENT'],
  ])('refuses the path %j', async (path, expected) => {
    await expect(Model.load(path)).rejects.toThrow(code(expected))
  })

  it('computes the same tokens with any number of threads, mapped or read', async () => {
    const expected = (await model.generate(prompt, greedy).result()).tokens
    for (const options of [{ threads: 1 }, { threads: 2 }, { threads: 3, promptThreads: 1 }, { threads: 1, promptThreads: 3 }, { mmap: false }]) {
      await using other = await Model.load(undefined, options)
      expect((await other.generate(prompt, greedy).result()).tokens).toEqual(expected)
    }
  })
})

describe('greedy text of the f32 checkpoint (golden)', () => {
  const { cases } = JSON.parse(readFileSync(join(root, 'test/fixtures/fairytale/reference.json'), 'utf8')) as {
    cases: { prompt: string; ids: number[]; greedy: number[]; text: string }[]
  }
  for (const file of ['fairytale-f32.gguf', 'hf']) {
    const path = realModel(`fairytale/${file}`, `the greedy text of ${file}`)
    it.skipIf(path === null)(`is the reference's, from ${file}`, async () => {
      await using f32 = await Model.load(path!, { kvType: 'f32' })
      for (const { prompt, ids, greedy, text } of cases) {
        // The folder's tokenizer.json adds no beginning-of-text token, the GGUF file's tokenizer does.
        expect([0, ...(await f32.encode(prompt, { addSpecial: false }))]).toEqual(ids)
        const result = await f32.generate(ids, { temperature: 0, maxTokens: greedy.length }).result()
        expect(result.tokens).toEqual(greedy)
        expect(result.text).toBe(text)
      }
    })
  }
})

describe('generate', () => {
  it('streams the text that the result has, and that its tokens decode to', async () => {
    const story = model.generate(prompt, { seed: 7, maxTokens: 50 })
    let text = ''
    for await (const piece of story) text += piece.text
    const result = await story.result()
    expect(result.text).toBe(text)
    expect(result.tokens).toHaveLength(50)
    expect(await model.decode(result.tokens)).toBe(text)
    expect(result).toMatchObject({ finishReason: 'length', stopReason: null, seed: 7 })
    expect(result.usage).toMatchObject({ promptTokens: 6, completionTokens: 50, totalTokens: 56 })
    expect(result.timings.tokensPerSecond).toBeGreaterThan(0)
    expect(result.timings.promptTokensPerSecond).toBeGreaterThan(0)
  })

  it('gives the same tokens for the same seed, and others for another', async () => {
    const run = async (seed: number) => (await model.generate(prompt, { seed, maxTokens: 30 }).result()).tokens
    const [a, b, c] = await Promise.all([run(1), run(1), run(2)])
    expect(a).toEqual(b)
    expect(a).not.toEqual(c)
  })

  it('can be repeated with the seed that it chose', async () => {
    const first = await model.generate(prompt, { maxTokens: 30 }).result()
    const second = await model.generate(prompt, { maxTokens: 30, seed: first.seed }).result()
    expect(second.tokens).toEqual(first.tokens)
  })

  it('gives the same tokens alone and beside others', async () => {
    const alone = (await model.generate(prompt, greedy).result()).tokens
    const prompts = [prompt, 'The king said to his daughter', prompt, 'Dorothy', 'In the middle of the forest', prompt]
    const together = await Promise.all(prompts.map((prompt) => model.generate(prompt, greedy).result()))
    for (const i of [0, 2, 5]) expect(together[i]!.tokens).toEqual(alone)
  })

  it('takes token ids for a prompt', async () => {
    const ids = await model.encode(prompt)
    const fromIds = await model.generate(ids, greedy).result()
    expect(fromIds.text).toBe((await model.generate(prompt, greedy).result()).text)
    expect((await model.generate([...ids], greedy).result()).text).toBe(fromIds.text)
  })

  it('stops before a stop string, also one that spans tokens', async () => {
    const { text } = await model.generate(prompt, greedy).result()
    const stop = text.slice(11, 19) // begins and ends inside words
    const stopped = await model.generate(prompt, { ...greedy, stop: ['never there', stop] }).result()
    expect(stopped).toMatchObject({ text: text.slice(0, text.indexOf(stop)), finishReason: 'stop', stopReason: stop })
  })

  it('stops at a stop token', async () => {
    const { tokens } = await model.generate(prompt, greedy).result()
    const stopped = await model.generate(prompt, { ...greedy, stopTokens: [tokens[5]!] }).result()
    expect(stopped).toMatchObject({ finishReason: 'stop', stopReason: tokens[5] })
    expect(stopped.usage.completionTokens).toBeLessThanOrEqual(6)
  })

  it('never takes a forbidden token, and always one with a great bias', async () => {
    const { tokens } = await model.generate(prompt, greedy).result()
    const without = await model.generate(prompt, { ...greedy, logitBias: { [tokens[0]!]: -Infinity } }).result()
    expect(without.tokens).not.toContain(tokens[0])
    const only = await model.generate(prompt, { ...greedy, maxTokens: 5, logitBias: { 99: 1000 } }).result()
    expect(only.tokens).toEqual([99, 99, 99, 99, 99])
  })

  it('ends at the end of the context', async () => {
    await using short = await Model.load(undefined, { contextLength: 32 })
    const { eosTokenIds } = short.info
    const result = await short
      .generate(prompt, { ...greedy, maxTokens: 500, logitBias: Object.fromEntries(eosTokenIds.map((id) => [id, -Infinity])) })
      .result()
    expect(result.finishReason).toBe('length')
    expect(result.usage.totalTokens).toBeGreaterThanOrEqual(32)
    expect(result.usage.totalTokens).toBeLessThanOrEqual(33) // the last token is sampled, but never read
  })

  it('begins with the prompt where echo is asked for', async () => {
    const plain = await model.generate(prompt, greedy).result()
    const story = model.generate(prompt, { ...greedy, echo: true })
    const echoed: boolean[] = []
    for await (const piece of story) echoed.push(piece.echo ?? false)
    const result = await story.result()
    expect(result.text.endsWith(prompt + plain.text)).toBe(true)
    expect(result.tokens).toEqual([...(await model.encode(prompt)), ...plain.tokens])
    expect(echoed.filter(Boolean)).toHaveLength(6)
    expect(result.usage).toEqual({ ...plain.usage, cachedTokens: expect.any(Number) })
  })

  it('reports log-probabilities that score() confirms bit for bit', async () => {
    const ids = await model.encode(prompt)
    const { tokens, logprobs } = await model.generate(ids, { ...greedy, logprobs: 3 }).result()
    const score = await model.score([...ids, ...tokens])
    expect(Float32Array.from(logprobs!, (entry) => entry.logprob!)).toEqual(score.logprobs.slice(ids.length - 1))
    for (const { token, logprob, top } of logprobs!) {
      expect(top).toHaveLength(3)
      expect(top[0]).toEqual({ token, logprob }) // greedy: the likeliest
      expect(top[0]!.logprob).toBeGreaterThanOrEqual(top[1]!.logprob)
    }
  })

  it('reports no alternatives for logprobs: 0, and nothing without the option', async () => {
    const some = await model.generate(prompt, { ...greedy, maxTokens: 2, logprobs: 0 }).result()
    expect(some.logprobs).toHaveLength(2)
    expect(some.logprobs![0]).toMatchObject({ logprob: expect.any(Number), top: [] })
    expect(await model.generate(prompt, { ...greedy, maxTokens: 2 }).result()).not.toHaveProperty('logprobs')
  })

  it('penalizes repetition', async () => {
    const { tokens } = await model.generate(prompt, greedy).result()
    const varied = await model.generate(prompt, { ...greedy, repetitionPenalty: 1.5, frequencyPenalty: 1 }).result()
    expect(new Set(varied.tokens).size).toBeGreaterThan(new Set(tokens).size)
  })

  it('aborts by the signal, and the request leaves the batch', async () => {
    const controller = new AbortController()
    const story = model.generate(prompt, { maxTokens: 400, seed: 1, signal: controller.signal })
    let pieces = 0
    const loop = (async () => {
      for await (const _ of story) if (++pieces === 3) controller.abort('enough')
    })()
    await expect(loop).rejects.toMatchObject({ code: 'ABORTED', cause: 'enough' })
    expect(pieces).toBe(3)
    await idle()
  })

  it('cancels when the loop is left, and the result tells how far it came', async () => {
    const story = model.generate(prompt, { maxTokens: 400, seed: 1 })
    for await (const _ of story) break
    const result = await story.result()
    expect(result.finishReason).toBe('aborted')
    expect(result.usage.completionTokens).toBeLessThan(400)
    await idle()
  })

  it('goes on while JavaScript is busy', async () => {
    // One thread: with as many as there are cores, the busy one here would take a core from them, which is not what is asked.
    await using other = await Model.load(undefined, { threads: 1 })
    const story = other.generate(prompt, { maxTokens: 50, seed: 3, logitBias: { 0: -Infinity } })
    const until = performance.now() + 20_000
    while (other.stats().computedTokens < 50 && performance.now() < until) {
      /* holds the event loop */
    }
    expect(other.stats().computedTokens).toBeGreaterThanOrEqual(50)
    await story.result()
  })

  it.each([
    ['an empty prompt', ''],
    ['a lone surrogate', 'a \ud800 b'],
    ['NUL and control characters', 'a\0b\u0007'],
    ['the spelling of a control token', '<|endoftext|>'],
  ])('takes %s', async (_, text) => {
    expect((await model.generate(text, { ...greedy, maxTokens: 3 }).result()).usage.completionTokens).toBeGreaterThan(0)
  })

  it('reports a prompt that does not fit through the Generate', async () => {
    await expect(model.generate('word '.repeat(2000)).result()).rejects.toThrow(code('PROMPT_TOO_LONG'))
  })

  it('never exceeds the cache', async () => {
    await using small = await Model.load(undefined, { cacheTokens: 16 })
    expect(small.info.contextLength).toBe(16)
    const result = await small.generate(prompt, { logitBias: { 0: -Infinity } }).result()
    expect(result).toMatchObject({ finishReason: 'length', usage: { totalTokens: 16 } })
    // Who asks for more than it can ever hold is told at once.
    await expect(small.generate(prompt, { maxTokens: 400 }).result()).rejects.toThrow(
      code('CACHE_TOO_SMALL', 'needs 406 tokens, the cache holds 16. Raise cacheTokens'),
    )
    await expect(small.generate(`${prompt}, in a far country, ${prompt}`).result()).rejects.toThrow(code('PROMPT_TOO_LONG'))
  })

  it('throws for wrong options at the call', () => {
    expect(() => model.generate(prompt, { maxToken: 3 } as never)).toThrow(code('UNKNOWN_OPTION'))
    expect(() => model.generate([5000])).toThrow(code('TOKEN_UNKNOWN'))
  })
})

describe('encode, decode, tokenize', () => {
  it('round-trips any text', async () => {
    const text = 'Ein Märchen, 北風と太陽 🦙\n\tend'
    const ids = await model.encode(text, { addSpecial: false })
    expect(await model.decode(ids)).toBe(text)
  })

  it('adds the beginning of text unless told not to', async () => {
    const [withSpecial, without] = [await model.encode('a'), await model.encode('a', { addSpecial: false })]
    expect([...withSpecial].slice(1)).toEqual([...without])
  })

  it('leaves control tokens in a text as text unless told not to', async () => {
    const text = '<|endoftext|>'
    expect((await model.encode(text, { addSpecial: false })).length).toBeGreaterThan(1)
    expect([...(await model.encode(text, { addSpecial: false, parseSpecial: true }))]).toEqual([0])
  })

  it('gives places that cover the text', async () => {
    const text = 'Once upon a time 🦙 there'
    const tokens = await model.tokenize(text, { addSpecial: false })
    expect(tokens[0]).toEqual({ id: 1798, piece: 'On', start: 0, end: 2 })
    expect(tokens.at(-1)!.end).toBe(text.length)
    for (const [i, token] of tokens.entries()) if (i > 0) expect(token.start).toBeLessThanOrEqual(tokens[i - 1]!.end)
  })

  it('refuses what is no text and no ids', async () => {
    await expect(model.encode(3 as never)).rejects.toThrow(code('INVALID_ARGUMENT'))
    await expect(model.decode('x' as never)).rejects.toThrow(code('INVALID_ARGUMENT'))
    await expect(model.decode([5000])).rejects.toThrow(code('TOKEN_UNKNOWN'))
    await expect(model.encode('a', { add: true } as never)).rejects.toThrow(code('UNKNOWN_OPTION'))
  })
})

describe('score', () => {
  it('gives one log-probability for each token but the first', async () => {
    const score = await model.score(prompt)
    expect(score.logprobs).toHaveLength(score.tokens.length - 1)
    expect(score.logprobs.every((logprob) => logprob < 0)).toBe(true)
    expect(score.perplexity).toBeCloseTo(Math.exp(score.nll / score.logprobs.length), 10)
  })

  it('prefers a story to its words in disorder', async () => {
    const told = await model.score('The king said to his daughter, you shall be a queen.')
    const shuffled = await model.score('a his shall you queen. said daughter, to be The king')
    expect(told.perplexity).toBeLessThan(shuffled.perplexity)
  })

  it('has no perplexity for a single token', async () => {
    expect(await model.score([5])).toMatchObject({ nll: 0, perplexity: NaN })
  })

  it('refuses more tokens than the context holds, and obeys a signal', async () => {
    await expect(model.score(new Int32Array(513))).rejects.toThrow(code('PROMPT_TOO_LONG'))
    await expect(model.score(prompt, { signal: AbortSignal.abort() })).rejects.toThrow(code('ABORTED'))
    const controller = new AbortController()
    const scoring = model.score(new Int32Array(500), { signal: controller.signal })
    setImmediate(() => controller.abort('late'))
    await expect(scoring).rejects.toMatchObject({ code: 'ABORTED', cause: 'late' })
    await idle()
  })
})

describe('dispose', () => {
  it('ends running requests with DISPOSED and refuses new ones', async () => {
    const other = await Model.load()
    const running = other.generate(prompt, { maxTokens: 400 }).result()
    running.catch(() => {})
    await Promise.all([other.dispose(), other.dispose()])
    await expect(running).rejects.toThrow(code('DISPOSED'))
    expect(() => other.generate(prompt)).toThrow(code('DISPOSED'))
    expect(() => other.stats()).toThrow(code('DISPOSED'))
    await expect(other.encode('a')).rejects.toThrow(code('DISPOSED'))
    await expect(other.score('a')).rejects.toThrow(code('DISPOSED'))
    await expect(other.decode([1])).rejects.toThrow(code('DISPOSED'))
  })

  it('leaves other models of the same file alone', async () => {
    {
      await using other = await Model.load()
      await other.generate(prompt, { maxTokens: 2 }).result()
    }
    expect((await model.generate(prompt, { ...greedy, maxTokens: 2 }).result()).tokens).toHaveLength(2)
  })
})

describe('garbage collection', () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void

  it('frees a model that nobody refers to any more', async () => {
    const forgotten = await (async () => {
      const other = await Model.load()
      await other.generate(prompt, { maxTokens: 2 }).result()
      return new WeakRef(other)
    })()
    for (let i = 0; i < 50 && forgotten.deref(); i++) {
      await sleep(10)
      collect()
    }
    expect(forgotten.deref()).toBeUndefined()
  })

  it('keeps a model alive while one of its generations runs', async () => {
    const result = await (async () => {
      const other = await Model.load()
      return [other.generate(prompt, { ...greedy, maxTokens: 200, logitBias: { 0: -Infinity } }).result()] as const
    })()
    for (let i = 0; i < 5; i++) {
      collect()
      await sleep(1)
    }
    expect((await result[0]).tokens).toHaveLength(200)
  })
})
