/** Engines for tests of the native side: made from any checkpoint, asked with plain requests, watched to their end. */
import { onTestFinished } from 'vitest'
import { openCheckpoint } from '../../src/formats/index.js'
import { compilePlan } from '../../src/graph/compile.js'
import type { Plan } from '../../src/graph/plan.js'
import {
  callNative,
  native,
  toInfernodeError,
  type NativeEngine,
  type NativeEngineOptions,
  type NativeEvents,
  type NativeRequest,
  type NativeRequestResult,
  type NativeTokenizer,
} from '../../src/native.js'

export const kvTypes = ['f32', 'f16', 'bf16', 'q8_0'] as const

const defaults: NativeEngineOptions = {
  threads: 2,
  isa: '',
  kvType: 'f16',
  cacheTokens: 512,
  batchTokens: 512,
  maxQueue: 1024,
  mmap: true,
}

export async function planOf(path: string): Promise<Plan> {
  return compilePlan(await openCheckpoint(path))
}

/** An engine that is disposed at the end of the test, if not before. */
export async function makeEngine(
  plan: Plan,
  options: Partial<NativeEngineOptions> = {},
  tokenizer: NativeTokenizer | null = null,
): Promise<NativeEngine> {
  const engine = await callNative(() => native().createEngine(JSON.stringify(plan), tokenizer, { ...defaults, ...options }))
  onTestFinished(() => engine.dispose())
  return engine
}

/** A reproducible stream of whole numbers from 0 to below `n`. */
export function randomNumbers(seed: number): (n: number) => number {
  let state = seed >>> 0
  return (n) => {
    state = (state + 0x9e3779b9) >>> 0
    let x = state
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b)
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35)
    return ((x ^ (x >>> 16)) >>> 0) % n
  }
}

export function randomTokens(n: number, vocabSize: number, seed: number): Int32Array {
  const next = randomNumbers(seed)
  return Int32Array.from({ length: n }, () => next(vocabSize))
}

/** A request for tokens, sampled at temperature 1 among all, that only its length ends. */
export function request(prompt: string | Int32Array, options: Partial<NativeRequest> = {}): NativeRequest {
  return {
    prompt,
    addSpecial: true,
    parseSpecial: false,
    n: 1,
    firstSample: 0,
    maxTokens: 16,
    maxTokensAsked: true,
    replay: 0,
    priority: 0,
    timeoutMs: 0,
    caller: '',
    temperature: 1,
    topK: 0,
    topP: 1,
    minP: 0,
    typicalP: 1,
    repetitionPenalty: 1,
    presencePenalty: 0,
    frequencyPenalty: 0,
    penaltyWindow: 0,
    logitBias: [],
    seed: 1,
    stop: [],
    stopTokens: [],
    logprobs: -1,
    echo: false,
    ...options,
  }
}

export const terms = { priority: 0, timeoutMs: 0, caller: '' }

export interface Watched {
  readonly id: number
  readonly tokens: number[]
  text: string
  /** How often it ended; how many batches came after that. */
  ends: number
  late: number
  readonly begun: Promise<void>
  /** Resolves with the result, or with the error; never rejects. */
  readonly end: Promise<NativeRequestResult | Error>
}

export function submit(engine: NativeEngine, what: NativeRequest): Watched {
  const begun = deferred<void>()
  const end = deferred<NativeRequestResult | Error>()
  const watched = { tokens: [] as number[], text: '', ends: 0, late: 0, begun: begun.promise, end: end.promise }
  const receive = ({ tokens, tail = '', done, error }: NativeEvents): void => {
    if (watched.ends > 0) watched.late++
    for (const { token, text } of tokens) {
      watched.tokens.push(token)
      watched.text += text
    }
    watched.text += tail
    begun.resolve()
    if (!done && !error) return
    watched.ends++
    end.resolve(error ? (toInfernodeError(error) as Error) : done!)
  }
  return Object.assign(watched, { id: engine.submit(what, receive) })
}

function deferred<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve!: (value: T) => void
  const promise = new Promise<T>((r) => (resolve = r))
  return { promise, resolve }
}
