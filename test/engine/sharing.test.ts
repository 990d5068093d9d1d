/** Company changes nothing: the same tokens alone, in a batch of 32, with a cached prefix, after being set back, for any threads. */
import { cp, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Plan } from '../../src/graph/plan.js'
import { embeddedModel } from '../../src/model.js'
import { callNative, type NativeEngine, type NativeRequestResult } from '../../src/native.js'
import { fixture, temporaryFolder } from '../support/checkpoints.js'
import { makeEngine, planOf, randomTokens, request, submit, terms, type Watched } from '../support/engines.js'

/** A golden folder with a context of 2,048 tokens: positions are rotated, so any length runs. */
async function longer(name: string, changes: object = {}): Promise<string> {
  const folder = join(await temporaryFolder(), name)
  await cp(fixture(name), folder, { recursive: true })
  const config = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8'))
  await writeFile(join(folder, 'config.json'), JSON.stringify({ ...config, max_position_embeddings: 2048, ...changes }))
  return folder
}

/** A plan as if the checkpoint had been trained for 512 tokens. */
async function stretched(path: string): Promise<Plan> {
  return { ...(await planOf(path)), contextLength: 512 }
}

const plans: Record<string, () => Promise<Plan>> = {
  llama: async () => planOf(await longer('llama')),
  'gemma3 with windows': async () => planOf(await longer('gemma3_text', { sliding_window: 70 })),
  'llama in K-quants': () => stretched(fixture('gguf/llama_k_quants/model.gguf')),
  'the embedded model': () => planOf(embeddedModel),
}

const ended = async (watched: readonly Watched[]): Promise<number[][]> => {
  for (const { end } of watched) expect(await end).toMatchObject({ finishReason: 'length' })
  return watched.map(({ tokens }) => tokens)
}
const generate = async (engine: NativeEngine, requests: readonly ReturnType<typeof request>[]): Promise<number[][]> =>
  ended(requests.map((r) => submit(engine, r)))
const resultOf = async (watched: Watched): Promise<NativeRequestResult> => (await watched.end) as NativeRequestResult

describe.each(Object.entries(plans))('%s', (_, planFor) => {
  it('generates the same tokens whatever the company', async () => {
    const plan = await planFor()
    const stem = randomTokens(150, plan.vocabSize, 1)
    // Greedy and sampled ones, alike for 150 tokens, for some, or not at all.
    const requests = Array.from({ length: 32 }, (_, i) => {
      const own = randomTokens(5 + i, plan.vocabSize, 100 + i)
      const prompt = Int32Array.of(...stem.slice(0, i % 4 === 3 ? 0 : i % 4 === 2 ? 90 : 150), ...own)
      return request(prompt, { temperature: i % 3 ? 0.9 : 0, topK: i % 2 ? 20 : 0, seed: i, maxTokens: 120 + ((i * 7) % 40) })
    })
    const cacheTokens = 8192
    const single = await makeEngine(plan, { cacheTokens, threads: 1, keepPrefixes: false })
    const expected: number[][] = []
    for (const r of requests) expected.push((await generate(single, [r]))[0]!)
    expect(single.stats()).toMatchObject({ cachedTokens: 0, cachedPages: 0 })
    expect(new Set(expected.map(String)).size).toBeGreaterThan(25)

    for (const threads of [2, 3]) {
      const shared = await makeEngine(plan, { cacheTokens, threads })
      expect(await generate(shared, requests), `together, ${threads} threads`).toEqual(expected)
      // Small models are quick: sometimes the first request has ended before the last one comes.
      for (let i = 0; i < 20 && shared.stats().largestBatch < 32; i++) expect(await generate(shared, requests)).toEqual(expected)
      expect(shared.stats().largestBatch).toBe(32)
      const before = shared.stats()
      expect(before.cachedTokens).toBeGreaterThan(20 * 64)
      expect(await generate(shared, requests), 'with cached prefixes').toEqual(expected)
      expect(shared.stats().cachedTokens - before.cachedTokens).toBeGreaterThan(32 * 64)
      expect(shared.stats()).toMatchObject({ usedPages: 0, sharedPages: 0, preemptions: 0 })
    }
    // Pages for three of them: the others wait, and are set back and computed again.
    for (const keepPrefixes of [true, false]) {
      const tight = await makeEngine(plan, { cacheTokens: 640, keepPrefixes, batchTokens: 96 })
      expect(await generate(tight, requests), 'set back').toEqual(expected)
      expect(tight.stats()).toMatchObject({ usedPages: 0, running: 0, waiting: 0 })
      expect(tight.stats().preemptions).toBeGreaterThan(0)
    }
  })

  it('scores the same bits while pages run out', async () => {
    const plan = await planFor()
    const ids = randomTokens(400, plan.vocabSize, 7)
    const scoreOf = async (engine: NativeEngine): Promise<Float32Array> => callNative(() => engine.score(ids, terms).result)
    const expected = await scoreOf(await makeEngine(plan, { cacheTokens: 512, threads: 1 }))
    const tight = await makeEngine(plan, { cacheTokens: 512 })
    const others = Array.from({ length: 5 }, (_, i) => submit(tight, request(ids.slice(0, 100 + i), { maxTokens: 90, seed: i })))
    const scores = await Promise.all([scoreOf(tight), scoreOf(tight)])
    for (const score of scores) expect(Buffer.from(score.buffer).equals(Buffer.from(expected.buffer))).toBe(true)
    await ended(others)
  })
})

describe('a repeated prompt', () => {
  const system = (plan: Plan): Int32Array => randomTokens(2000, plan.vocabSize, 3)

  it.each(['llama', 'gemma3 with windows'])('of 2,000 tokens costs them once, at the same time and later: %s', async (name) => {
    const plan = await plans[name]!()
    const engine = await makeEngine(plan, { cacheTokens: 8192 })
    const ask = (i: number) => submit(engine, request(Int32Array.of(...system(plan), i, i + 1, i + 2), { maxTokens: 8, seed: i }))
    const first = [0, 1, 2].map(ask)
    await ended(first)
    expect(engine.stats().computedTokens).toBe(2000 + 3 * 3 + 3 * 7)
    const later = [10, 11].map(ask)
    await ended(later)
    expect(engine.stats().computedTokens).toBe(2000 + 5 * 3 + 5 * 7)
    for (const one of [...first.slice(1), ...later]) expect((await resultOf(one)).cachedTokens).toBe(2000)
    expect(engine.stats()).toMatchObject({ usedPages: 0, sharedPages: 0, evictedPages: 0 })
  })

  it('is shared while it is computed, and after its first caller has left', async () => {
    const plan = await plans.llama!()
    const engine = await makeEngine(plan, { cacheTokens: 8192, batchTokens: 64 })
    const leaving = submit(engine, request(system(plan), { maxTokens: 8 }))
    const staying = submit(engine, request(system(plan), { maxTokens: 8 }))
    while (engine.stats().computedTokens < 300) await new Promise((resolve) => setTimeout(resolve, 1))
    engine.cancel(leaving.id)
    await ended([staying])
    expect(engine.stats().computedTokens).toBeLessThanOrEqual(2000 + 7 + 8)
  })

  it('is computed again once its pages were needed for others', async () => {
    const plan = await plans.llama!()
    const engine = await makeEngine(plan, { cacheTokens: 2048 })
    const ask = (seed: number) => generate(engine, [request(randomTokens(1500, plan.vocabSize, seed), { maxTokens: 4 })])
    const [expected] = await ask(1)
    await ask(2)
    expect(engine.stats().evictedPages).toBeGreaterThan(0)
    expect((await ask(1))[0]).toEqual(expected)
  })
})

describe('samples of one prompt', () => {
  it('share it, differ, and are each what they are alone', async () => {
    const plan = await plans.llama!()
    const prompt = randomTokens(333, plan.vocabSize, 5)
    const engine = await makeEngine(plan, { cacheTokens: 8192 })
    const samples: number[][] = Array.from({ length: 8 }, () => [])
    await new Promise<void>((resolve, reject) => {
      let left = 8
      engine.submit(request(prompt, { n: 8, maxTokens: 30, seed: 4 }), ({ sample, tokens, done, error }) => {
        for (const { token } of tokens) samples[sample]!.push(token)
        if (error) reject(error)
        if (done && --left === 0) resolve()
      })
    })
    expect(engine.stats().computedTokens).toBe(333 + 7 + 8 * 29)
    expect(new Set(samples.map(String)).size).toBe(8)
    const other = await makeEngine(plan, { cacheTokens: 1024, keepPrefixes: false })
    for (const firstSample of [0, 3, 7]) {
      const [alone] = await generate(other, [request(prompt, { firstSample, maxTokens: 30, seed: 4 })])
      expect(samples[firstSample]).toEqual(alone)
    }
  })
})

describe('priority and time', () => {
  it('lets the urgent one finish first, and the other one with its own tokens', async () => {
    const plan = await plans['the embedded model']!()
    const engine = await makeEngine(plan, { cacheTokens: 512 })
    const order: string[] = []
    const low = submit(engine, request(randomTokens(200, plan.vocabSize, 1), { maxTokens: 250 }))
    const high = submit(engine, request(randomTokens(300, plan.vocabSize, 2), { maxTokens: 100, priority: 1 }))
    await Promise.all([low.end.then(() => order.push('low')), high.end.then(() => order.push('high'))])
    expect(order).toEqual(['high', 'low'])
    const alone = submit(engine, request(randomTokens(200, plan.vocabSize, 1), { maxTokens: 250 }))
    await alone.end
    expect(low.tokens).toEqual(alone.tokens)
  })

  it('ends a request whose time is over with how far it came, running or waiting, and frees its pages', async () => {
    const plan = await plans.llama!()
    const engine = await makeEngine(plan, { cacheTokens: 2048 })
    const timeoutMs = 40
    const running = submit(engine, request(randomTokens(10, plan.vocabSize, 1), { maxTokens: 2000, timeoutMs: 2 ** 31 }))
    await running.begun
    const late = submit(engine, request(randomTokens(10, plan.vocabSize, 2), { maxTokens: 2000, timeoutMs }))
    expect(await late.end).toMatchObject({
      code: 'TIMED_OUT',
      // On a busy machine it may not come further than that.
      message: expect.stringMatching(
        /^The request did not end within its 40 ms: (\d+ of at most 2000 tokens were generated|10 of 10 prompt tokens were computed|it was still waiting)\. Allow/,
      ),
    })
    const urgent = { priority: 5, maxTokens: 500 }
    const large = submit(engine, request(randomTokens(1500, plan.vocabSize, 3), urgent))
    const waiting = submit(engine, request(randomTokens(1500, plan.vocabSize, 4), { maxTokens: 500, timeoutMs: 1 }))
    expect(await waiting.end).toMatchObject({ code: 'TIMED_OUT', message: expect.stringContaining('it was still waiting') })
    await expect(
      callNative(() => engine.score(randomTokens(2000, plan.vocabSize, 5), { ...terms, timeoutMs: 1 }).result),
    ).rejects.toMatchObject({ code: 'TIMED_OUT' })
    for (const { id } of [running, large]) engine.cancel(id)
    await Promise.all([running.end, large.end])
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(engine.stats()).toMatchObject({ usedPages: 0, running: 0, waiting: 0 })
  })
})

describe('evaluate', () => {
  it('takes pages from requests, which finish later with the same tokens', async () => {
    const plan = await plans.llama!()
    const engine = await makeEngine(plan, { cacheTokens: 1024 })
    const asked = request(randomTokens(300, plan.vocabSize, 1), { maxTokens: 600 })
    const [expected] = await generate(engine, [asked])
    const disturbed = submit(engine, asked)
    const tokens = randomTokens(500, plan.vocabSize, 2)
    const parts = [0, 1].map((sequence) => [{ sequence, tokens }])
    for (const part of parts) await callNative(() => engine.evaluate(part))
    await expect(callNative(() => engine.evaluate([{ sequence: 2, tokens }]))).rejects.toMatchObject({ code: 'CACHE_TOO_SMALL' })
    for (const sequence of [0, 1, 2]) engine.forget(sequence)
    await disturbed.end
    expect(disturbed.tokens).toEqual(expected)
    expect(engine.stats()).toMatchObject({ running: 0, waiting: 0, usedPages: 0 })
  })
})

describe('stats', () => {
  it('count requests, tokens, steps and times', async () => {
    const plan = await plans.llama!()
    const engine = await makeEngine(plan, { cacheTokens: 2048 })
    expect(engine.stats()).toMatchObject({ requests: 0, steps: 0, tokensPerSecond: 0, firstTokenMs: { count: 0, p50: 0, p99: 0 } })
    const requests = Array.from({ length: 6 }, (_, i) => request(randomTokens(50, plan.vocabSize, i), { maxTokens: 20 }))
    await generate(engine, requests)
    const stats = engine.stats()
    expect(stats).toMatchObject({ requests: 6, generatedTokens: 120, computedTokens: 6 * 69 })
    expect(stats.largestBatch).toBeGreaterThan(0)
    expect(stats.firstTokenMs.count).toBe(6)
    expect(stats.tokenGapMs.count).toBe(6 * 19)
    expect(stats.tokenGapMs.p50).toBeGreaterThan(0)
    expect(stats.tokenGapMs.p99).toBeGreaterThanOrEqual(stats.tokenGapMs.p50)
    expect(stats.tokensPerSecond).toBeGreaterThan(0)
    expect(stats.promptTokensPerSecond).toBeGreaterThan(stats.tokensPerSecond)
    expect(stats.usedPages + stats.freePages).toBe(stats.totalPages)
  })
})
