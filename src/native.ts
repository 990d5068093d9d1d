/** Finds the native binary, says which one it is, and types the binding once. */
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type ErrorCode, errorCodes, InfernodeError } from './errors.js'
import type { TensorTypeName } from './tensor-types.js'

/** What the native side rejects with: an Error that carries the code and the arguments of its row in src/errors.ts. */
interface NativeError extends Error {
  infernodeCode?: ErrorCode
  details?: string[]
}

export interface RuntimeInfo {
  readonly version: string
  readonly isa: string
  /** Variants that this CPU can run, best first. */
  readonly isas: readonly string[]
  readonly cpuFeatures: readonly string[]
  readonly threads: number
  /** Why this many: affinity, cgroup quota, physical cores. */
  readonly threadsReason: string
  readonly cpuModel: string
}

/** Immutable, shared by all requests of a model. Every call runs on the runtime's own service thread. */
export interface NativeTokenizer {
  readonly vocabSize: number
  encode(text: string, options: { addSpecial: boolean; parseSpecial: boolean; offsets: boolean; pair?: string }): Promise<{
    ids: Int32Array
    /** [start, end] of each id in UTF-16 code units of the text; empty unless asked for. */
    offsets: Uint32Array
    /** Of a pair, else empty. */
    typeIds: Uint32Array
  }>
  decode(ids: Int32Array, options: { skipSpecial: boolean }): Promise<string>
  /** The vocabulary's own spelling of each id. */
  pieces(ids: Int32Array): string[]
  isSpecial(id: number): boolean
  /** The id of a piece of the vocabulary or of an added token; -1 where there is none. */
  find(piece: string): number
}

/** How a request stands among others. */
export interface NativeTerms {
  /** From -1000 to 1000; higher goes first. */
  priority: number
  /** From now until the request fails with TIMED_OUT; 0: never. */
  timeoutMs: number
  /** Callers of the same priority take turns; '': whoever holds this engine. */
  caller: string
}

/** What a request asks of the engine; plain data. Text prompts are tokenized natively. */
export interface NativeRequest extends NativeTerms {
  prompt: string | Int32Array
  addSpecial: boolean
  parseSpecial: boolean
  /** Samples of the prompt, numbered from `firstSample` on. */
  n: number
  firstSample: number
  maxTokens: number
  /** More than the cache can ever hold is then refused with CACHE_TOO_SMALL; else the cache's end ends the text. */
  maxTokensAsked: boolean
  /** So many of the prompt's last ids are the beginning of the answer, whose text was told before. */
  replay: number
  temperature: number
  topK: number
  topP: number
  minP: number
  typicalP: number
  repetitionPenalty: number
  presencePenalty: number
  frequencyPenalty: number
  /** How many of the latest tokens the penalties look at; 0: all. */
  penaltyWindow: number
  logitBias: { id: number; bias: number }[]
  /** Unsigned, below 2^53. */
  seed: number
  stop: string[]
  stopTokens: number[]
  /** Alternatives reported per token; -1: no log-probabilities at all. */
  logprobs: number
  echo: boolean
}

export interface NativeTokenEvent {
  /** Text that became final with this token: whole characters only, may be empty. */
  text: string
  token: number
  /** ln p(token) before temperature and filters; only with logprobs >= 0. */
  logprob?: number
  top?: { token: number; logprob: number }[]
  /** True for the prompt's own tokens (echo). */
  echo?: boolean
}

export interface NativeRequestResult {
  finishReason: 'stop' | 'length' | 'aborted'
  /** The stop string or stop token that ended it. */
  stopReason: string | number | null
  promptTokens: number
  generatedTokens: number
  cachedTokens: number
  queuedMs: number
  promptMs: number
  generationMs: number
}

/** One batch of news about a sample: some tokens, and at the end a result or an error. Exactly one batch per sample has those. */
export interface NativeEvents {
  sample: number
  tokens: NativeTokenEvent[]
  /** Text held back for stop strings or incomplete characters, released at the end. */
  tail?: string
  done?: NativeRequestResult
  error?: NativeError
}

export interface NativePercentiles {
  readonly count: number
  readonly p50: number
  readonly p90: number
  readonly p99: number
}

export interface NativeStats {
  readonly weightsBytes: number
  readonly kvBytes: number
  readonly kvBytesUsed: number
  readonly scratchBytes: number
  readonly totalPages: number
  readonly freePages: number
  readonly usedPages: number
  readonly cachedPages: number
  readonly sharedPages: number
  readonly evictedPages: number
  readonly running: number
  readonly waiting: number
  readonly requests: number
  readonly preemptions: number
  readonly computedTokens: number
  readonly cachedTokens: number
  readonly generatedTokens: number
  readonly tokensPerSecond: number
  readonly promptTokensPerSecond: number
  readonly steps: number
  readonly meanBatch: number
  readonly largestBatch: number
  readonly firstTokenMs: NativePercentiles
  readonly tokenGapMs: NativePercentiles
}

export interface NativeStep {
  readonly ms: number
  readonly sequences: number
  readonly promptTokens: number
  readonly generatedTokens: number
  readonly running: number
  readonly waiting: number
}

export interface NativeEngine {
  /** Queues a request; `onEvents` is called on the JavaScript thread. Returns the id to cancel with. */
  submit(request: NativeRequest, onEvents: (events: NativeEvents) => void): number
  /** The request leaves the batch before the next step; its last event has finishReason 'aborted'. */
  cancel(request: number): void
  /** ln p of each token after the first given all before it: [T - 1]. Windows are the caller's business. */
  score(ids: Int32Array, terms: NativeTerms): { request: number; result: Promise<Float32Array> }
  /**
   * Runs one step by hand, for tests and tools: a ragged batch over sequences that the caller numbers. Every named output of the
   * plan comes back as [rows, width] f32, `logits` for all tokens.
   */
  evaluate(
    batch: { sequence: number; tokens: Int32Array; longest?: number }[],
    inputs?: Record<string, Float32Array>,
  ): Promise<Record<string, Float32Array>>
  /** Drops a sequence of `evaluate`. */
  forget(sequence: number): void
  stats(): NativeStats
  /** Tells of every step from now on; null: no more. Keeps no process alive. */
  watchSteps(onStep: ((step: NativeStep) => void) | null): void
  /** Records what threads do in steps from now on, at most so many pieces of work. */
  startProfile(maxEvents: number): Promise<void>
  stopProfile(): Promise<NativeProfile | undefined>
  /** Frees everything once no work uses it. Running requests end with DISPOSED. Resolves when it is done. */
  dispose(): Promise<void>
}

export interface NativeEngineOptions {
  threads: number // 0: the runtime's own choice
  /** Of steps that compute more than a token of a sequence. 0, and the default: as `threads`. */
  promptThreads?: number
  isa: string // '': the best
  kvType: 'f32' | 'f16' | 'bf16' | 'q8_0'
  cacheTokens: number
  /** Most tokens of one step. */
  batchTokens: number
  /** Most requests that may wait. */
  maxQueue: number
  /** Keep computed pages after use, and share them. Default true. */
  keepPrefixes?: boolean
  mmap: boolean
  /** Most bytes that loading may reserve. Default: any. */
  maxMemory?: number
}

/** Times are microseconds since the profile began. */
export interface NativeProfile {
  /** [n, 5]: begin, end, run (row of `runs`, or past its end), step of the plan, thread. */
  events: Float64Array
  /**
   * [n, 8]: begin, end, tokens, outputs, positions whose keys and values attention reads, pairs of a query and a position that it sees
   * (windows aside), threads that its ops were shared out among, 1 for the body and 0 for the head.
   */
  runs: Float64Array
  /** Events that found no room. */
  lost: number
}

export interface NativeQuantizeRequest {
  /** Of the tensor, for errors. */
  name: string
  /** Bytes, copied during the call, or a range of a file. */
  source: Uint8Array | { path: string; offset: number }
  sourceType: TensorTypeName
  targetType: TensorTypeName
  nRows: number
  /** Values in a row: a whole number of blocks of both types. */
  rowLength: number
  /** Of the rows, in the tensor, for errors. */
  firstRow: number
  /** A range of a file that exists; null: the result carries the bytes. */
  target: { path: string; offset: number } | null
  threads: number // 0: the runtime's own choice
}

export interface NativeQuantizeResult {
  /** Empty where the target is a file. */
  bytes: Uint8Array
  /** Root of the mean square of the source's values. */
  rms: number
  rmse: number
  maxError: number
  /** The block (of the target's type) with the largest error. */
  worstBlock: { index: number; rmse: number }
}

/** Jobs run one after another, on threads of their own. */
export interface NativeQuantizeJob {
  result: Promise<NativeQuantizeResult>
  valuesDone(): number
  /** The result becomes ABORTED within milliseconds if the job runs; a waiting job says so when its turn comes. */
  cancel(): void
}

/** Memory of tensors; opaque. Freed when it is disposed or collected, once no work uses it. */
export interface NativeStorage {
  readonly storage: unique symbol
}

/** [storage, number of the type, offset, shape, strides], in values; null: absent. */
export type NativeView = readonly [NativeStorage, number, number, readonly number[], readonly number[]] | null

/** Ops on tensors with the kernels of one ISA variant. */
export interface NativeTensors {
  readonly isa: string
  copy(bytes: Uint8Array): NativeStorage
  /** The caller gives the buffer away: nobody else may have it. */
  adopt(buffer: ArrayBuffer, offset: number, bytes: number): NativeStorage
  zeros(bytes: number): NativeStorage
  /** fill: 0 full (first), 1 range (first, step), 2 uniform [first, second), 3 normal (mean, deviation). */
  create(type: number, shape: readonly number[], fill: number, first: number, second: number, seed: number): NativeStorage
  /** An op of native/tensor/call.cc, on the runtime's threads. */
  run(op: string, operands: readonly NativeView[], attributes: readonly number[]): { result: Promise<NativeStorage[]>; cancel(): void }
  runSync(op: string, operands: readonly NativeView[], attributes: readonly number[]): NativeStorage[]
  /** Copies bytes from `offset` on; false if the storage is still being filled. */
  read(storage: NativeStorage, offset: number, into: Uint8Array): boolean
  dispose(storage: NativeStorage): void
}

export interface NativeAddon {
  info(options?: { threads?: number; isa?: string }): RuntimeInfo
  /** Everything of a tokenizer.json but model.vocab, model.merges and added_tokens, as JSON text. */
  tokenizerJsonSkeleton(path: string): Promise<string>
  createTokenizer(description: string): Promise<NativeTokenizer>
  /** Tensor types that quantizeTensor can write. */
  encodableTypes(): TensorTypeName[]
  quantizeTensor(request: NativeQuantizeRequest): NativeQuantizeJob
  /** isa '': the best. */
  createTensors(isa: string): NativeTensors
  createEngine(plan: string, tokenizer: NativeTokenizer | null, options: NativeEngineOptions): Promise<NativeEngine>
  /** Measures this machine: bytes/s of plain reading (of a file's mapping; '': of fresh memory), multiply-adds/s of int8, bf16 and f32, with the given number of threads (0: all). */
  measure(options: { threads: number; isa: string; milliseconds: number; file: string }): Promise<{
    readBytesPerSecond: number
    int8MacsPerSecond: number
    bf16MacsPerSecond: number
    f32MacsPerSecond: number
  }>
}

let loaded: NativeAddon | undefined

/** The folder of the package: package.json, prebuilds/, models/. */
export const packageRoot = join(dirname(fileURLToPath(import.meta.url)), '..')

/** The addon: the local build, or the prebuilt binary of this platform. Throws NATIVE_UNAVAILABLE with the reason. */
export function native(): NativeAddon {
  if (loaded) return loaded
  const require = createRequire(import.meta.url)
  try {
    loaded = require('node-gyp-build')(packageRoot) as NativeAddon
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.split('\n')[0]! : String(cause)
    throw new InfernodeError('NATIVE_UNAVAILABLE', existsSync(join(packageRoot, 'native')) ? `${reason} (not built yet?)` : reason)
  }
  return loaded
}

/** Turns what the native side threw or rejected with into an InfernodeError; anything else passes through. */
export function toInfernodeError(cause: unknown): unknown {
  const { infernodeCode, details } = (cause ?? {}) as NativeError
  if (!infernodeCode || !errorCodes.includes(infernodeCode)) return cause
  const error = new InfernodeError(infernodeCode, ...((details ?? []) as never))
  return error
}

/** Calls the native side; its errors become InfernodeErrors. */
export async function callNative<T>(call: () => Promise<T> | T): Promise<T> {
  try {
    return await call()
  } catch (cause) {
    throw toInfernodeError(cause)
  }
}
