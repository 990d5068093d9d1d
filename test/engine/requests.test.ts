/** What the scheduler promises a request: its tokens whatever runs beside it, one end, and an error that says why. */
import { cp, open } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { openCheckpoint } from '../../src/formats/index.js'
import type { Plan } from '../../src/graph/plan.js'
import { embeddedModel } from '../../src/model.js'
import { callNative, type NativeEngine, type NativeEngineOptions } from '../../src/native.js'
import { Tokenizer } from '../../src/tokenizer/tokenizer.js'
import { fixture, temporaryFolder } from '../support/checkpoints.js'
import { makeEngine, planOf, randomNumbers, randomTokens, request, submit, terms, type Watched } from '../support/engines.js'

let embedded: Promise<Plan> | undefined
async function embeddedEngine(options: Partial<NativeEngineOptions> = {}): Promise<NativeEngine> {
  embedded ??= planOf(embeddedModel)
  return makeEngine(await embedded, options)
}

const vocabSize = 2048
const long = { maxTokens: 400 }
const code = (code: string, message = '') => expect.objectContaining({ code, message: expect.stringContaining(message) })

/** Every request ended once and said nothing afterwards; nothing runs, and all pages are free. */
async function expectQuiet(engine: NativeEngine, requests: readonly Watched[]): Promise<void> {
  await Promise.all(requests.map(({ end }) => end))
  await sleep(20)
  expect(requests.map(({ ends, late }) => [ends, late])).toEqual(requests.map(() => [1, 0]))
  const { running, waiting, freePages, totalPages } = engine.stats()
  expect({ running, waiting, freePages }).toEqual({ running: 0, waiting: 0, freePages: totalPages })
}

describe('a seed', () => {
  it('gives the same tokens alone and beside 15 others, for any number of threads', async () => {
    const next = randomNumbers(3)
    const requests = Array.from({ length: 16 }, (_, i) =>
      request(randomTokens(1 + next(90), vocabSize, i), {
        seed: 100 + i,
        maxTokens: 1 + next(60),
        topK: i % 3 ? 40 : 0,
        topP: 0.95,
      }),
    )
    const outcomes: number[][][] = []
    for (const threads of [1, 2, 3]) {
      const engine = await embeddedEngine({ threads, cacheTokens: 4096 })
      const together = requests.map((r) => submit(engine, r))
      await expectQuiet(engine, together)
      outcomes.push(together.map(({ tokens }) => tokens))
      const alone = []
      for (const r of requests) {
        const one = submit(engine, r)
        await one.end
        alone.push(one.tokens)
      }
      outcomes.push(alone)
      await engine.dispose()
    }
    expect(outcomes[0]!.map((tokens) => tokens.length)).toEqual(requests.map(({ maxTokens }) => maxTokens))
    for (const outcome of outcomes) expect(outcome).toEqual(outcomes[0])
  })
})

describe('a cancelled request', () => {
  it('ends once, whether cancelled before its start, in the middle or after its end', async () => {
    const engine = await embeddedEngine()
    // The cache holds one of these at a time, so the second one waits.
    const running = submit(engine, request(randomTokens(270, vocabSize, 1), { maxTokens: 200 }))
    const waiting = submit(engine, request(randomTokens(270, vocabSize, 2), { maxTokens: 200 }))
    const atOnce = submit(engine, request(randomTokens(270, vocabSize, 3), { maxTokens: 200 }))
    engine.cancel(atOnce.id)
    expect(await atOnce.end).toMatchObject({ finishReason: 'aborted', generatedTokens: 0, promptTokens: 270 })
    await running.begun
    engine.cancel(waiting.id)
    expect(await waiting.end).toMatchObject({ finishReason: 'aborted', generatedTokens: 0 })
    engine.cancel(running.id)
    engine.cancel(running.id)
    expect(await running.end).toMatchObject({ finishReason: 'aborted', generatedTokens: running.tokens.length })
    expect(running.tokens.length).toBeLessThan(200)
    const short = submit(engine, request(randomTokens(5, vocabSize, 4), { maxTokens: 3 }))
    await short.end
    engine.cancel(short.id)
    engine.cancel(12345678)
    await expectQuiet(engine, [running, waiting, atOnce, short])
  })

  it('leaves the others their tokens', async () => {
    const engine = await embeddedEngine({ cacheTokens: 4096 })
    const kept = request(randomTokens(20, vocabSize, 5), { seed: 5, maxTokens: 80 })
    const alone = submit(engine, kept)
    await alone.end
    const beside = submit(engine, kept)
    const others = Array.from({ length: 12 }, (_, i) =>
      submit(engine, request(randomTokens(30 * i + 1, vocabSize, i), { maxTokens: 70 })),
    )
    for (const other of others) {
      await Promise.race([other.begun, beside.end])
      engine.cancel(other.id)
    }
    await expectQuiet(engine, [beside, ...others])
    expect(beside.tokens).toEqual(alone.tokens)
  })

  it('tells of no more tokens than its result counts', async () => {
    const engine = await embeddedEngine({ cacheTokens: 2048 })
    const requests = Array.from({ length: 30 }, (_, i) =>
      submit(engine, request(randomTokens(3 + i, vocabSize, i), { maxTokens: 40 })),
    )
    for (const [i, { id }] of requests.entries()) {
      if (i % 3 === 0) await sleep(1)
      engine.cancel(id)
    }
    for (const watched of requests) expect(await watched.end).toMatchObject({ generatedTokens: watched.tokens.length })
    await expectQuiet(engine, requests)
  })
})

describe('dispose', () => {
  it('ends 5 running requests with DISPOSED, and resolves', async () => {
    const engine = await embeddedEngine({ cacheTokens: 4096 })
    const requests = Array.from({ length: 5 }, (_, i) => submit(engine, request(randomTokens(9, vocabSize, i), long)))
    await Promise.all(requests.map(({ begun }) => begun))
    await engine.dispose()
    for (const { end } of requests) expect(await end).toEqual(code('DISPOSED'))
    const late = submit(engine, request(Int32Array.of(1)))
    expect(await late.end).toEqual(code('DISPOSED'))
    await expect(callNative(() => engine.score(Int32Array.of(1, 2), terms).result)).rejects.toEqual(code('DISPOSED'))
    await expect(callNative(() => engine.evaluate([{ sequence: 0, tokens: Int32Array.of(1) }]))).rejects.toEqual(
      code('DISPOSED'),
    )
    engine.forget(0)
    engine.cancel(requests[0]!.id)
    await engine.dispose()
    await sleep(20)
    expect(requests.map(({ ends, late }) => [ends, late])).toEqual(requests.map(() => [1, 0]))
  })

  it('ends requests that wait, and those that are still being tokenized', async () => {
    const checkpoint = await openCheckpoint(embeddedModel)
    const tokenizer = await Tokenizer.load(checkpoint.tokenizer!)
    const engine = await makeEngine(await planOf(embeddedModel), {}, tokenizer.native)
    const requests = Array.from({ length: 40 }, (_, i) =>
      submit(engine, request(`Story ${i}: `.repeat(20), { maxTokens: 100 })),
    )
    const disposed = engine.dispose()
    for (const { end } of requests) expect(await end).toEqual(code('DISPOSED'))
    await disposed
  })

  it('may be called at once from several places', async () => {
    const engine = await embeddedEngine()
    await Promise.all([engine.dispose(), engine.dispose(), engine.dispose()])
  })
})

describe('the queue', () => {
  it('refuses what is more than maxQueue', async () => {
    const engine = await embeddedEngine({ maxQueue: 2, cacheTokens: 512 })
    const large = (seed: number) => request(randomTokens(270, vocabSize, seed), { maxTokens: 230 })
    const running = submit(engine, large(1))
    await running.begun
    const waiting = [2, 3].map((seed) => submit(engine, large(seed)))
    const refused = submit(engine, large(4))
    expect(await refused.end).toEqual(code('QUEUE_FULL', '2 requests'))
    engine.cancel(running.id)
    for (const { id } of waiting) engine.cancel(id)
    await expectQuiet(engine, [running, ...waiting, refused])
  })

  it('does not count what can start at once', async () => {
    const engine = await embeddedEngine({ maxQueue: 1, cacheTokens: 4096 })
    const requests = Array.from({ length: 12 }, (_, i) => submit(engine, request(randomTokens(5, vocabSize, i))))
    for (const { end } of requests) expect(await end).toMatchObject({ finishReason: 'length' })
  })

  it('lets more requests than the cache holds wait, and all finish', async () => {
    const engine = await embeddedEngine({ cacheTokens: 256 })
    const requests = Array.from({ length: 40 }, (_, i) =>
      request(randomTokens(1 + (i % 60), vocabSize, i), { seed: i, maxTokens: 10 + (i % 90) }),
    )
    const watched = requests.map((r) => submit(engine, r))
    for (const [i, { end }] of watched.entries()) {
      expect(await end).toMatchObject({ finishReason: 'length', generatedTokens: requests[i]!.maxTokens })
    }
    await expectQuiet(engine, watched)
  })

  it('serves requests in the order of their arrival where one has to wait for another', async () => {
    const engine = await embeddedEngine({ cacheTokens: 64 })
    const ended: number[] = []
    const watched = Array.from({ length: 6 }, (_, i) =>
      submit(engine, request(randomTokens(9, vocabSize, i), { maxTokens: 12 - 2 * i })),
    )
    await Promise.all(watched.map(async ({ end }, i) => ended.push((await end, i))))
    expect(ended).toEqual([0, 1, 2, 3, 4, 5])
  })
})

describe('a request that cannot run', () => {
  it('says how many tokens it has and how many the cache holds; a shorter one may fill it', async () => {
    const engine = await embeddedEngine({ cacheTokens: 200 })
    const endOf = (n: number, maxTokensAsked: boolean, maxTokens = 400) =>
      submit(engine, request(randomTokens(n, vocabSize, 1), { maxTokens, maxTokensAsked })).end
    expect(await endOf(200, false)).toEqual(code('PROMPT_TOO_LONG', '200 tokens, the context holds 200'))
    expect(await endOf(190, false)).toMatchObject({ finishReason: 'length', generatedTokens: 10 })
    expect(await endOf(190, true, 11)).toEqual(code('CACHE_TOO_SMALL', 'needs 201 tokens, the cache holds 200. Raise cacheTokens'))
    expect(await endOf(190, true, 10)).toMatchObject({ finishReason: 'length', generatedTokens: 10 })
    // The model's own context, of 512, is no reason to refuse.
    const roomy = await embeddedEngine({ cacheTokens: 1024 })
    const last = submit(roomy, request(randomTokens(510, vocabSize, 1), { maxTokens: 2000 }))
    expect(await last.end).toMatchObject({ finishReason: 'length', generatedTokens: 2 })
    await expect(callNative(() => engine.score(randomTokens(201, vocabSize, 1), terms).result)).rejects.toEqual(
      code('INVALID_ARGUMENT', '200'),
    )
    const sequences = [120, 140].map((n, sequence) => ({ sequence, tokens: randomTokens(n, vocabSize, sequence) }))
    await expect(callNative(() => engine.evaluate(sequences))).rejects.toEqual(code('CACHE_TOO_SMALL', '200'))
  })

  it('is refused when its prompt is too long, empty, or names tokens that do not exist', async () => {
    const engine = await embeddedEngine({ cacheTokens: 1024 })
    const endOf = (ids: ArrayLike<number>, more = {}) => submit(engine, request(Int32Array.from(ids), more)).end
    expect(await endOf(randomTokens(512, vocabSize, 1))).toEqual(code('PROMPT_TOO_LONG', '512'))
    expect(await endOf([])).toEqual(code('INVALID_ARGUMENT', 'prompt'))
    for (const id of [-1, vocabSize, 2 ** 31 - 1, -(2 ** 31)])
      expect(await endOf([1, id])).toEqual(code('TOKEN_UNKNOWN', String(id)))
    expect(await endOf([1], { stopTokens: [vocabSize] })).toEqual(code('TOKEN_UNKNOWN', '2048'))
    await expect(callNative(() => engine.submit(request(randomTokens(5000, vocabSize, 1)), () => {}))).rejects.toEqual(
      code('INVALID_ARGUMENT'),
    )
    await expect(callNative(() => engine.submit(request('text without a tokenizer'), () => {}))).rejects.toEqual(
      code('TOKENIZER_MISSING'),
    )
    await expect(callNative(() => engine.evaluate([{ sequence: 0, tokens: Int32Array.of(vocabSize) }]))).rejects.toEqual(
      code('TOKEN_UNKNOWN'),
    )
    await expect(callNative(() => engine.score(Int32Array.of(1, -1), terms).result)).rejects.toEqual(code('TOKEN_UNKNOWN'))
  })

  it('fails with LOGITS_NOT_FINITE on a damaged checkpoint, and other engines go on', async () => {
    const folder = join(await temporaryFolder(), 'damaged')
    await cp(fixture('llama'), folder, { recursive: true })
    const norm = (await openCheckpoint(folder)).tensors.get('model.norm.weight')!
    const file = await open(join(folder, 'model.safetensors'), 'r+')
    await file.write(Buffer.from(Float32Array.of(NaN).buffer), 0, 4, norm.offset)
    await file.close()
    const plan = await planOf(folder)
    const damaged = await makeEngine(plan)
    const healthy = await embeddedEngine({ cacheTokens: 2048 })
    const well = request(randomTokens(9, vocabSize, 7), { maxTokens: 60 })
    const alone = submit(healthy, well)
    await alone.end
    const beside = submit(healthy, well)
    const failing = Array.from({ length: 6 }, (_, i) =>
      submit(
        damaged,
        request(randomTokens(4, plan.vocabSize, i), { maxTokens: 8, temperature: i % 2, logprobs: i % 3 ? 2 : -1 }),
      ),
    )
    for (const { end } of failing) expect(await end).toEqual(code('LOGITS_NOT_FINITE', 'position 3'))
    await expect(callNative(() => damaged.score(Int32Array.of(1, 2, 3), terms).result)).rejects.toEqual(code('LOGITS_NOT_FINITE'))
    await expectQuiet(damaged, failing)
    expect(await beside.end).toMatchObject({ finishReason: 'length' })
    expect(beside.tokens).toEqual(alone.tokens)
  })
})

describe('a failed evaluate', () => {
  it('leaves its sequences as they were', async () => {
    const engine = await embeddedEngine({ cacheTokens: 128 })
    const [a, b] = [randomTokens(50, vocabSize, 1), randomTokens(120, vocabSize, 2)]
    const whole = await callNative(() => engine.evaluate([{ sequence: 0, tokens: a }]))
    // The second one does not fit any more.
    const both = [
      { sequence: 1, tokens: a.slice(0, 20) },
      { sequence: 2, tokens: b },
    ]
    await expect(callNative(() => engine.evaluate(both))).rejects.toEqual(code('CACHE_TOO_SMALL'))
    await expect(
      callNative(() =>
        engine.evaluate([
          { sequence: 1, tokens: a.slice(0, 20) },
          { sequence: 2, tokens: Int32Array.of(-1) },
        ]),
      ),
    ).rejects.toEqual(code('TOKEN_UNKNOWN'))
    const again = await callNative(() => engine.evaluate([{ sequence: 1, tokens: a }]))
    expect(Buffer.from(again.logits!.buffer).equals(Buffer.from(whole.logits!.buffer))).toBe(true)
  })

  it('names a sequence only once', async () => {
    const engine = await embeddedEngine()
    const twice = [1, 1].map((sequence) => ({ sequence, tokens: Int32Array.of(5) }))
    await expect(callNative(() => engine.evaluate(twice))).rejects.toEqual(code('INVALID_ARGUMENT', 'twice'))
  })
})
