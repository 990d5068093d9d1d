/** Generate and its options over a fake engine: what the public class promises, whatever the native side does. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Generate, toRequest, type GenerateOptions, type ModelLimits, type Piece, type Prompt } from '../src/generate.js'
import type { NativeEngine, NativeEvents, NativeRequest, NativeRequestResult } from '../src/native.js'

const limits: ModelLimits = { vocabSize: 100, contextLength: 512, generation: { eosTokenIds: [2, 3] } }

class FakeEngine {
  request: NativeRequest | undefined
  emit!: (events: Omit<NativeEvents, 'sample'> & { sample?: number }) => void
  cancelled: number[] = []
  submit(request: NativeRequest, onEvents: (events: NativeEvents) => void): number {
    this.request = request
    this.emit = (events) => onEvents({ sample: 0, ...events })
    return 17
  }
  cancel(request: number): void {
    this.cancelled.push(request)
  }
  /** Tokens 10, 11, … with one text each. */
  tokens(...texts: string[]): void {
    this.emit({ tokens: texts.map((text, i) => ({ text, token: 10 + i })) })
  }
  finish(result: Partial<NativeRequestResult> = {}, rest: Partial<NativeEvents> = {}): void {
    this.emit({ tokens: [], ...rest, done: { ...done, ...result } })
  }
}

const done: NativeRequestResult = {
  finishReason: 'length',
  stopReason: null,
  promptTokens: 4,
  generatedTokens: 3,
  cachedTokens: 1,
  queuedMs: 1,
  promptMs: 10,
  generationMs: 100,
}

function start(options: GenerateOptions = {}): { engine: FakeEngine; story: Generate } {
  const engine = new FakeEngine()
  const { request, signal } = toRequest('Once', options, limits)
  return { engine, story: new Generate(engine as unknown as NativeEngine, request, signal) }
}

async function collect(story: Generate): Promise<Piece[]> {
  const pieces: Piece[] = []
  for await (const piece of story) pieces.push(piece)
  return pieces
}
const textOf = (pieces: Piece[]): string => pieces.map((piece) => piece.text).join('')
const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

let unhandled: unknown[] = []
const remember = (reason: unknown): void => void unhandled.push(reason)
beforeEach(() => {
  unhandled = []
  process.on('unhandledRejection', remember)
})
afterEach(async () => {
  await tick()
  process.off('unhandledRejection', remember)
  expect(unhandled).toEqual([])
})

describe('Generate', () => {
  it('starts at the call, before anybody listens', () => {
    expect(start().engine.request?.prompt).toBe('Once')
  })

  it('streams pieces as they come and ends with the result', async () => {
    const { engine, story } = start()
    const seen: string[] = []
    const loop = (async () => {
      for await (const piece of story) seen.push(piece.text)
    })()
    engine.tokens(' upon')
    await tick()
    expect(seen).toEqual([' upon'])
    engine.tokens(' a', ' time')
    engine.finish()
    await loop
    expect(seen).toEqual([' upon', ' a', ' time'])
    expect((await story.result()).text).toBe(' upon a time')
  })

  it('has the result without iterating', async () => {
    const { engine, story } = start({ seed: 7 })
    const result = story.result()
    engine.tokens('a', 'b', 'c')
    engine.finish({ finishReason: 'stop', stopReason: 2 })
    expect(await result).toEqual({
      text: 'abc',
      samples: [{ text: 'abc', tokens: [10, 11, 12], finishReason: 'stop', stopReason: 2 }],
      tokens: [10, 11, 12],
      finishReason: 'stop',
      stopReason: 2,
      usage: { promptTokens: 4, cachedTokens: 1, completionTokens: 3, totalTokens: 7 },
      // 3 of 4 prompt tokens were computed in 10 ms; 2 tokens after the first took 100 ms.
      timings: { queuedMs: 1, promptMs: 10, generationMs: 100, promptTokensPerSecond: 300, tokensPerSecond: 20 },
      seed: 7,
    })
  })

  it('gives every loop all pieces from the first, also after the end', async () => {
    const { engine, story } = start()
    engine.tokens('a', 'b')
    const first = collect(story)
    await tick()
    const second = collect(story)
    engine.finish()
    expect(textOf(await first)).toBe('ab')
    expect(textOf(await second)).toBe('ab')
    expect(textOf(await collect(story))).toBe('ab')
    expect(engine.cancelled).toEqual([])
  })

  it('waits for a slow reader without losing pieces', async () => {
    const { engine, story } = start()
    const loop = (async () => {
      const seen: string[] = []
      for await (const piece of story) {
        await tick()
        seen.push(piece.text)
      }
      return seen
    })()
    for (let i = 0; i < 50; i++) engine.tokens(String(i))
    engine.finish()
    expect(await loop).toHaveLength(50)
  })

  it('cancels the request when the loop is left, and the result tells what there was', async () => {
    const { engine, story } = start()
    engine.tokens('a', 'b')
    for await (const piece of story) if (piece.text === 'a') break
    expect(engine.cancelled).toEqual([17])
    engine.finish({ finishReason: 'aborted', generatedTokens: 2 })
    const result = await story.result()
    expect(result).toMatchObject({ text: 'ab', finishReason: 'aborted' })
  })

  it('cancels nothing when the loop is left after the end', async () => {
    const { engine, story } = start()
    engine.tokens('a', 'b')
    engine.finish()
    for await (const _ of story) break
    expect(engine.cancelled).toEqual([])
  })

  it('cancels the request when the loop throws', async () => {
    const { engine, story } = start()
    engine.tokens('a')
    await expect(
      (async () => {
        for await (const _ of story) throw new Error('mine')
      })(),
    ).rejects.toThrow('mine')
    expect(engine.cancelled).toEqual([17])
  })

  it('rejects with ABORTED and the reason when the signal is triggered', async () => {
    const controller = new AbortController()
    const { engine, story } = start({ signal: controller.signal })
    engine.tokens('a')
    const loop = collect(story)
    const result = story.result()
    await tick()
    controller.abort('enough')
    await expect(loop).rejects.toMatchObject({ code: 'ABORTED', cause: 'enough' })
    await expect(result).rejects.toMatchObject({ code: 'ABORTED', cause: 'enough' })
    expect(engine.cancelled).toEqual([17])
    engine.finish({ finishReason: 'aborted' }) // comes later, and changes nothing
    await expect(story.result()).rejects.toMatchObject({ code: 'ABORTED' })
  })

  it('yields no more pieces after an abort, not even waiting ones', async () => {
    const controller = new AbortController()
    const { engine, story } = start({ signal: controller.signal })
    engine.tokens('a', 'b', 'c')
    const seen: string[] = []
    await expect(
      (async () => {
        for await (const piece of story) {
          seen.push(piece.text)
          controller.abort()
        }
      })(),
    ).rejects.toMatchObject({ code: 'ABORTED' })
    expect(seen).toEqual(['a'])
  })

  it('submits nothing when the signal was triggered before', async () => {
    const { engine, story } = start({ signal: AbortSignal.abort('before') })
    expect(engine.request).toBeUndefined()
    await expect(story.result()).rejects.toMatchObject({ code: 'ABORTED', cause: 'before' })
  })

  it('removes its listener from the signal at the end', async () => {
    const { signal } = new AbortController()
    const remove = vi.spyOn(signal, 'removeEventListener')
    const { engine, story } = start({ signal })
    engine.finish()
    await story.result()
    expect(remove).toHaveBeenCalledOnce()
  })

  it('hands out what arrived before an error, then throws it', async () => {
    const { engine, story } = start()
    engine.tokens('a')
    engine.emit({
      tokens: [],
      error: Object.assign(new Error('native'), { infernodeCode: 'LOGITS_NOT_FINITE' as const, details: ['5'] }),
    })
    const seen: string[] = []
    await expect(
      (async () => {
        for await (const piece of story) seen.push(piece.text)
      })(),
    ).rejects.toMatchObject({ code: 'LOGITS_NOT_FINITE' })
    expect(seen).toEqual(['a'])
  })

  it('causes no unhandled rejection when a loop gets the error and result() was not awaited', async () => {
    const { engine, story } = start()
    void story.result()
    const loop = collect(story)
    await tick()
    engine.emit({
      tokens: [],
      error: Object.assign(new Error('native'), { infernodeCode: 'DISPOSED' as const, details: ['model'] }),
    })
    await expect(loop).rejects.toMatchObject({ code: 'DISPOSED' })
  })

  it('causes no unhandled rejection when nobody listens at all', async () => {
    const { engine } = start()
    engine.emit({
      tokens: [],
      error: Object.assign(new Error('native'), { infernodeCode: 'DISPOSED' as const, details: ['model'] }),
    })
  })

  it('reports through the promise what submit throws', async () => {
    const engine = {
      submit() {
        throw Object.assign(new Error('native'), { infernodeCode: 'QUEUE_FULL', details: ['8'] })
      },
    }
    const { request } = toRequest('Once', {}, limits)
    const story = new Generate(engine as unknown as NativeEngine, request)
    await expect(story.result()).rejects.toMatchObject({ code: 'QUEUE_FULL', message: expect.stringContaining('8 requests') })
  })

  it('adds held-back text to the last token that comes with it, or as a piece of its own', async () => {
    const together = start()
    together.engine.finish({}, { tokens: [{ text: 'a', token: 10 }], tail: 'b' })
    expect(await collect(together.story)).toEqual([{ text: 'ab', token: 10 }])
    const apart = start()
    apart.engine.tokens('a')
    apart.engine.finish({}, { tail: 'b' })
    expect(await collect(apart.story)).toEqual([
      { text: 'a', token: 10 },
      { text: 'b', token: -1 },
    ])
    expect(await apart.story.result()).toMatchObject({ text: 'ab', tokens: [10] })
  })

  it('passes on log-probabilities and marks echoed tokens', async () => {
    const { engine, story } = start({ logprobs: 1, echo: true })
    engine.emit({ tokens: [{ text: 'Once', token: 5, echo: true }] })
    engine.emit({ tokens: [{ text: ' a', token: 6, logprob: -0.5, top: [{ token: 6, logprob: -0.5 }] }] })
    engine.finish()
    expect(await collect(story)).toEqual([
      { text: 'Once', token: 5, echo: true },
      { text: ' a', token: 6, logprob: -0.5, top: [{ token: 6, logprob: -0.5 }] },
    ])
    expect((await story.result()).logprobs).toEqual([
      { token: 5, logprob: null, top: [] },
      { token: 6, logprob: -0.5, top: [{ token: 6, logprob: -0.5 }] },
    ])
  })

  it('chooses a seed, uses it and reports it', async () => {
    const { engine, story } = start()
    engine.finish()
    expect(story.seed).toBe(engine.request!.seed)
    expect((await story.result()).seed).toBe(story.seed)
    expect(Number.isSafeInteger(story.seed)).toBe(true)
    expect(new Set(Array.from({ length: 5 }, () => start().story.seed)).size).toBeGreaterThan(1)
  })
})

describe('several samples', () => {
  it('stream side by side, each with its number, and end together', async () => {
    const { engine, story } = start({ n: 2, seed: 3 })
    expect(engine.request).toMatchObject({ n: 2, firstSample: 0 })
    engine.emit({ sample: 1, tokens: [{ text: 'b', token: 11 }] })
    engine.emit({ sample: 0, tokens: [{ text: 'a', token: 10 }] })
    engine.emit({ sample: 1, tokens: [], tail: '!', done: { ...done, finishReason: 'stop', stopReason: 'x', generatedTokens: 1 } })
    let ended = false
    const result = story.result().finally(() => (ended = true))
    await tick()
    expect(ended).toBe(false)
    engine.emit({ sample: 0, tokens: [{ text: 'A', token: 12 }], tail: '?', done: { ...done, generatedTokens: 2 } })
    const samples = [
      { text: 'aA?', tokens: [10, 12], finishReason: 'length', stopReason: null },
      { text: 'b!', tokens: [11], finishReason: 'stop', stopReason: 'x' },
    ]
    expect(await result).toMatchObject({ ...samples[0], samples, usage: { promptTokens: 4, completionTokens: 3, totalTokens: 7 } })
    expect(await collect(story)).toEqual([
      { text: 'b', token: 11, sample: 1 },
      { text: 'a', token: 10, sample: 0 },
      { text: '!', token: -1, sample: 1 },
      { text: 'A?', token: 12, sample: 0 },
    ])
  })

  it('fail together, and the others are cancelled', async () => {
    const { engine, story } = start({ n: 3 })
    const error = Object.assign(new Error('native'), { infernodeCode: 'QUEUE_FULL', details: ['8'] }) as never
    engine.emit({ sample: 2, tokens: [], error })
    await expect(story.result()).rejects.toMatchObject({ code: 'QUEUE_FULL' })
    expect(engine.cancelled).toEqual([17])
  })
})

describe('toRequest', () => {
  const request = (
    options?: GenerateOptions,
    prompt: Prompt = 'x',
    generation: ModelLimits['generation'] = { eosTokenIds: [2, 3] },
  ) => toRequest(prompt, options, { ...limits, generation }).request

  it('has the documented defaults', () => {
    expect(request({ seed: 1 })).toEqual({
      prompt: 'x',
      addSpecial: true,
      parseSpecial: false,
      n: 1,
      firstSample: 0,
      replay: 0,
      maxTokens: 256,
      maxTokensAsked: false,
      priority: 0,
      timeoutMs: 0,
      caller: '',
      temperature: 0.8,
      topK: 40,
      topP: 0.95,
      minP: 0,
      typicalP: 1,
      repetitionPenalty: 1,
      presencePenalty: 0,
      frequencyPenalty: 0,
      penaltyWindow: 0,
      logitBias: [],
      seed: 1,
      stop: [],
      stopTokens: [2, 3],
      logprobs: -1,
      echo: false,
    })
  })

  it("prefers the checkpoint's defaults to those, and options to both", () => {
    const generation = { temperature: 0.3, topK: 5, topP: 0.5, repetitionPenalty: 1.2, eosTokenIds: [4] }
    expect(request({}, 'x', generation)).toMatchObject({
      temperature: 0.3,
      topK: 5,
      topP: 0.5,
      repetitionPenalty: 1.2,
      stopTokens: [4],
    })
    expect(request({ temperature: 0, topK: 0 }, 'x', generation)).toMatchObject({ temperature: 0, topK: 0, topP: 0.5 })
  })

  it('stops at stop tokens beside all end-of-text tokens', () => {
    expect(request({ stopTokens: [9, 2] }).stopTokens).toEqual([2, 3, 9])
  })

  it('takes one stop string or several, and biases by id', () => {
    expect(request({ stop: 'a' }).stop).toEqual(['a'])
    expect(request({ stop: ['a', 'b'] }).stop).toEqual(['a', 'b'])
    expect(request({ logitBias: { 7: 1.5, 8: -Infinity } }).logitBias).toEqual([
      { id: 7, bias: 1.5 },
      { id: 8, bias: -Infinity },
    ])
  })

  it('says whether maxTokens was asked for, and no more of them than can be counted', () => {
    expect(request({ maxTokens: 1e12 })).toMatchObject({ maxTokens: 2 ** 31 - 1, maxTokensAsked: true })
    expect(request({})).toMatchObject({ maxTokens: 256, maxTokensAsked: false })
  })

  it('copies prompts of ids', () => {
    const ids = [1, 2, 3]
    expect(request({}, ids).prompt).toEqual(Int32Array.of(1, 2, 3))
    const typed = Int32Array.of(4, 5)
    expect(request({}, typed).prompt).toEqual(typed)
    expect(request({}, typed).prompt).not.toBe(typed)
  })

  it.each<[GenerateOptions, string]>([
    [{ temperature: -1 }, 'temperature'],
    [{ temperature: NaN }, 'temperature'],
    [{ topK: -1 }, 'topK'],
    [{ topP: 0 }, 'topP'],
    [{ topP: 1.1 }, 'topP'],
    [{ minP: 2 }, 'minP'],
    [{ typicalP: 0 }, 'typicalP'],
    [{ repetitionPenalty: 0 }, 'repetitionPenalty'],
    [{ presencePenalty: Infinity }, 'presencePenalty'],
    [{ penaltyWindow: 1.5 }, 'penaltyWindow'],
    [{ logitBias: { x: 1 } as never }, 'logitBias'],
    [{ logitBias: { 1: NaN } }, 'logitBias'],
    [{ logitBias: [1] as never }, 'logitBias'],
    [{ seed: -1 }, 'seed'],
    [{ seed: 2 ** 53 }, 'seed'],
    [{ stop: [''] }, 'stop'],
    [{ stopTokens: 3 as never }, 'stopTokens'],
    [{ logprobs: -1 }, 'logprobs'],
    [{ logprobs: true as never }, 'logprobs'],
    [{ maxTokens: -1 }, 'maxTokens'],
    [{ n: 0 }, 'n'],
    [{ priority: 0.5 }, 'priority'],
    [{ timeoutMs: 0 }, 'timeoutMs'],
    [{ caller: '' }, 'caller'],
    [{ signal: {} as never }, 'signal'],
  ])('refuses %j', (options, name) => {
    expect(() => request(options)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringMatching(`^${name}:`) }),
    )
  })

  it('refuses ids that are not in the vocabulary, wherever they are', () => {
    const unknown = expect.objectContaining({ code: 'TOKEN_UNKNOWN' })
    expect(() => request({}, [1, 100])).toThrow(unknown)
    expect(() => request({}, [-1])).toThrow(unknown)
    expect(() => request({ stopTokens: [100] })).toThrow(unknown)
    expect(() => request({ logitBias: { 100: 1 } })).toThrow(unknown)
  })

  it('refuses prompts that are neither text nor ids', () => {
    const invalid = expect.objectContaining({ code: 'INVALID_ARGUMENT' })
    for (const prompt of [null, 3, {}, [1, '2'], [1.5], [NaN], new Float32Array(2), new Array(3)]) {
      expect(() => request({}, prompt as never)).toThrow(invalid)
    }
    expect(() => request({}, [1, 'x'] as never)).toThrow('prompt[1]: expected a token id, received "x"')
  })

  it('refuses more ids than the context holds', () => {
    expect(() => request({}, new Int32Array(513))).toThrow(expect.objectContaining({ code: 'PROMPT_TOO_LONG' }))
  })
})
