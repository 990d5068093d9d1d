/** Generate: options are checked and handed down; tokens and text are streamed up. Everything per token happens natively. */
import { randomInt } from 'node:crypto'
import type { RequestFeed } from './diagnostics.js'
import { InfernodeError } from './errors.js'
import type { GenerationDefaults } from './formats/checkpoint.js'
import {
  toInfernodeError,
  type NativeEngine,
  type NativeEvents,
  type NativeRequest,
  type NativeRequestResult,
  type NativeTerms,
  type NativeTokenEvent,
} from './native.js'
import {
  abortSignal,
  aborted,
  boolean,
  checkOptions,
  finite,
  integer,
  invalid,
  listOf,
  nonEmptyString,
  oneOrMore,
  type Rules,
} from './options.js'

/** A prompt: text, or the ids of this model's own tokens. */
export type Prompt = string | readonly number[] | Int32Array

/**
 * How to continue a prompt. Where the checkpoint has a generation_config.json its values are the defaults; otherwise they are
 * the ones given here. An unknown or impossible option is an error that names it.
 */
export interface GenerateOptions {
  /**
   * Most tokens to generate; the end of the context ends the text earlier. Default 256. With 0, `echo` and `logprobs` only look
   * at the prompt.
   */
  maxTokens?: number
  /** Divides the logits before sampling; 0 always takes the likeliest token. Default 0.8. */
  temperature?: number
  /** Sample among this many likeliest tokens; 0: all. Default 40. */
  topK?: number
  /** Sample among the likeliest tokens that together have this probability (arXiv:1904.09751). Default 0.95; 1: all. */
  topP?: number
  /** Drop tokens less likely than this share of the likeliest one's probability (arXiv:2407.01082). Default 0: none. */
  minP?: number
  /** Sample among the tokens whose surprise is nearest to the expected one (arXiv:2202.00666). Default 1: all. */
  typicalP?: number
  /** Divides positive and multiplies negative logits of tokens that occurred (arXiv:1909.05858). Default 1: none. */
  repetitionPenalty?: number
  /** Subtracted once from the logit of each token that occurred. Default 0. */
  presencePenalty?: number
  /** Subtracted from a token's logit for each time that it occurred. Default 0. */
  frequencyPenalty?: number
  /** How many of the latest tokens the three penalties look at; 0: all. Default 0. */
  penaltyWindow?: number
  /** Added to the logits of these token ids; -Infinity forbids a token. */
  logitBias?: Readonly<Record<number, number>>
  /** The same seed, prompt and options give the same tokens on the same ISA variant. Chosen if absent; `seed` tells it. */
  seed?: number
  /** Texts that end the generation, also across token borders; they are not part of the text. */
  stop?: string | readonly string[]
  /** Token ids that end the generation, beside the end-of-text tokens of the checkpoint. */
  stopTokens?: readonly number[]
  /** Report ln p of every token and of this many likeliest alternatives. Absent: none of it. */
  logprobs?: number
  /** Begin the text and the tokens with the prompt's. Default false. */
  echo?: boolean
  /** Add the tokens that the tokenizer puts around a text (beginning of text). Default true; token ids are never changed. */
  addSpecial?: boolean
  /** Let control tokens that are spelled out in the prompt act as such. Default false: they are plain text. */
  parseSpecial?: boolean
  /** So many answers to the same prompt, which is computed once; pieces carry their `sample`. Default 1, at most 64. */
  n?: number
  /**
   * Whole number from -1000 to 1000, default 0. Of waiting requests the one of the highest priority starts first, and it may set
   * back running ones of lower priority, which are then computed again later.
   */
  priority?: number
  /** Whom the request is for, such as a user's id: callers of the same priority take turns. Default: the holder of the model. */
  caller?: string
  /**
   * Milliseconds from the call until the request fails with TIMED_OUT, which says how far it came; checked between steps. Pieces
   * that came before can still be read. Default: no limit.
   */
  timeoutMs?: number
  /** Aborts the request: iteration and result() reject with ABORTED, whose `cause` is the signal's reason. */
  signal?: AbortSignal
}

/** What a sampled token could have been. `logprob` is ln p under the model, before temperature and filters. */
export interface TokenLogprob {
  readonly token: number
  readonly logprob: number
}

/** One token and the text that became final with it. */
export interface Piece {
  /** Whole characters only. Empty while a character or a possible stop string is incomplete. */
  readonly text: string
  /** The token's id; -1 for held-back text that is released at the end without a token of its own. */
  readonly token: number
  /** Which of the `n` samples it belongs to, from 0; absent where there is only one. */
  readonly sample?: number
  /** True for the prompt's own tokens (`echo`). */
  readonly echo?: boolean
  /** Only with `logprobs`; absent for the very first token of an echoed prompt, which nothing precedes. */
  readonly logprob?: number
  /** The likeliest tokens at this place, likeliest first; only with `logprobs`. */
  readonly top?: readonly TokenLogprob[]
}

/** One of `n` answers. */
export interface SampleResult {
  /** What was generated, after the prompt's text if `echo` was asked for. */
  readonly text: string
  readonly tokens: readonly number[]
  /** `stop`: an end-of-text token, stop token or stop string. `length`: maxTokens or the context. `aborted`: the loop was left. */
  readonly finishReason: 'stop' | 'length' | 'aborted'
  /** The stop string or token that ended it; null otherwise. */
  readonly stopReason: string | number | null
  /** One per token of `tokens`, if they were asked for. */
  readonly logprobs?: readonly {
    readonly token: number
    readonly logprob: number | null
    readonly top: readonly TokenLogprob[]
  }[]
}

/** The first sample, and what they have in common. */
export interface GenerateResult extends SampleResult {
  /** All `n` of them, the first included. */
  readonly samples: readonly SampleResult[]
  readonly usage: Usage
  readonly timings: Timings
  /** The seed that was used; pass it to get the same tokens again. */
  readonly seed: number
  /** With `contextFull: 'drop-oldest'`: how many messages the model has not seen to the end of the answer. */
  readonly droppedMessages?: number
}

export interface Usage {
  readonly promptTokens: number
  /** Those of the prompt that were found in the cache, and not computed. */
  readonly cachedTokens: number
  /** Of all samples. */
  readonly completionTokens: number
  readonly totalTokens: number
}

export interface Timings {
  /** Waiting for a place in the batch. */
  readonly queuedMs: number
  /** From the first step to the first token. */
  readonly promptMs: number
  /** From the first token to the last. */
  readonly generationMs: number
  /** Prompt tokens that were computed (not taken from the cache) per second. */
  readonly promptTokensPerSecond: number
  /** Tokens after the first per second of generation; 0 where there was only one. */
  readonly tokensPerSecond: number
}

/** What every request may ask of the scheduler. */
export const termRules: Rules<Pick<GenerateOptions, 'priority' | 'caller' | 'timeoutMs'>> = {
  priority: integer(-1000, 1000),
  caller: nonEmptyString,
  timeoutMs: integer(1, 2 ** 32 - 1),
}

const tokenIds = listOf(integer(0, 2 ** 31 - 1), 'token ids')

const rules: Rules<GenerateOptions> = {
  maxTokens: integer(0),
  temperature: finite('a number of at least 0', (t) => t >= 0),
  topK: integer(0),
  topP: finite('a number above 0 and up to 1', (p) => p > 0 && p <= 1),
  minP: finite('a number from 0 to 1', (p) => p >= 0 && p <= 1),
  typicalP: finite('a number above 0 and up to 1', (p) => p > 0 && p <= 1),
  repetitionPenalty: finite('a number above 0', (r) => r > 0),
  presencePenalty: finite('a finite number', () => true),
  frequencyPenalty: finite('a finite number', () => true),
  penaltyWindow: integer(0),
  logitBias: { expected: 'an object from token ids to numbers', accepts: isLogitBias },
  seed: integer(0),
  stop: oneOrMore(nonEmptyString, 'such strings'),
  stopTokens: tokenIds,
  logprobs: integer(0, 64),
  echo: boolean,
  addSpecial: boolean,
  parseSpecial: boolean,
  n: integer(1, 64),
  ...termRules,
  signal: abortSignal,
}

function isLogitBias(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || value instanceof Map) return false
  return Object.entries(value).every(
    ([id, bias]) => /^\d{1,10}$/.test(id) && typeof bias === 'number' && (Number.isFinite(bias) || bias === -Infinity),
  )
}

/** What generate() must know of a model. */
export interface ModelLimits {
  readonly vocabSize: number
  readonly contextLength: number
  readonly generation: GenerationDefaults
}

/**
 * The request that `options` describe, with every default filled in.
 * @throws UNKNOWN_OPTION, INVALID_ARGUMENT, TOKEN_UNKNOWN, PROMPT_TOO_LONG
 */
export function toRequest(
  prompt: Prompt,
  options: GenerateOptions | undefined,
  limits: ModelLimits,
): { request: NativeRequest; signal?: AbortSignal } {
  const given = checkOptions(options, rules)
  const { generation } = limits
  const logitBias = Object.entries(given.logitBias ?? {}).map(([id, bias]) => ({ id: Number(id), bias }))
  for (const { id } of logitBias) checkToken(id, limits)
  for (const id of given.stopTokens ?? []) checkToken(id, limits)
  const request: NativeRequest = {
    prompt: typeof prompt === 'string' ? prompt : toIds(prompt, 'prompt', limits),
    addSpecial: given.addSpecial ?? true,
    parseSpecial: given.parseSpecial ?? false,
    maxTokens: Math.min(given.maxTokens ?? 256, 2 ** 31 - 1),
    maxTokensAsked: given.maxTokens !== undefined,
    n: given.n ?? 1,
    firstSample: 0,
    replay: 0,
    ...toTerms(given),
    temperature: given.temperature ?? generation.temperature ?? 0.8,
    topK: Math.min(given.topK ?? generation.topK ?? 40, limits.vocabSize),
    topP: given.topP ?? generation.topP ?? 0.95,
    minP: given.minP ?? generation.minP ?? 0,
    typicalP: given.typicalP ?? 1,
    repetitionPenalty: given.repetitionPenalty ?? generation.repetitionPenalty ?? 1,
    presencePenalty: given.presencePenalty ?? 0,
    frequencyPenalty: given.frequencyPenalty ?? 0,
    penaltyWindow: Math.min(given.penaltyWindow ?? 0, limits.contextLength),
    logitBias,
    seed: given.seed ?? randomInt(2 ** 32),
    stop: given.stop === undefined ? [] : typeof given.stop === 'string' ? [given.stop] : [...given.stop],
    stopTokens: [...new Set([...generation.eosTokenIds, ...(given.stopTokens ?? [])])],
    logprobs: given.logprobs ?? -1,
    echo: given.echo ?? false,
  }
  return given.signal ? { request, signal: given.signal } : { request }
}

export function toTerms(given: Pick<GenerateOptions, 'priority' | 'caller' | 'timeoutMs'>): NativeTerms {
  return { priority: given.priority ?? 0, timeoutMs: given.timeoutMs ?? 0, caller: given.caller ?? '' }
}

/**
 * Token ids as the native side takes them; a copy, so that a caller may reuse its array.
 * @throws INVALID_ARGUMENT, TOKEN_UNKNOWN, PROMPT_TOO_LONG
 */
export function toIds(ids: unknown, name: string, limits: Pick<ModelLimits, 'vocabSize' | 'contextLength'>): Int32Array {
  if (!Array.isArray(ids) && !(ids instanceof Int32Array)) {
    throw invalid(name, name === 'prompt' ? 'a string, or an array of token ids' : 'an array of token ids', ids)
  }
  if (ids.length > limits.contextLength) {
    throw new InfernodeError('PROMPT_TOO_LONG', String(ids.length), String(limits.contextLength))
  }
  const copy = new Int32Array(ids.length)
  for (let i = 0; i < copy.length; i++) {
    const id: unknown = ids[i]
    if (!Number.isSafeInteger(id)) throw invalid(`${name}[${i}]`, 'a token id', id)
    checkToken(id as number, limits)
    copy[i] = id as number
  }
  return copy
}

export function checkToken(id: number, { vocabSize }: Pick<ModelLimits, 'vocabSize'>): void {
  if (id < 0 || id >= vocabSize) throw new InfernodeError('TOKEN_UNKNOWN', String(id), String(vocabSize))
}

/** Where a conversation's prompt comes from, and comes from again when the context is full. */
export interface PromptSource {
  /**
   * The ids that leave `room` tokens of the context free beside `answer` tokens of an answer so far, and how many messages they
   * leave out: more than `dropped`. As few as possible; less room if there are no more to leave out; null if there is none at all.
   */
  prompt(room: number, answer?: number, dropped?: number): Promise<{ readonly ids: Int32Array; readonly dropped: number } | null>
  /** Whether messages may be left out at all. */
  readonly drops: boolean
  readonly contextLength: number
}

type Outcome = { readonly result: GenerateResult } | { readonly error: unknown; readonly immediate: boolean }

/** One sample on its way. */
interface Sample {
  readonly pieces: Piece[]
  request: number | undefined
  /** Generated tokens of requests before this one, where the context was full in between. */
  before: number
  /** Messages left out. */
  dropped: number
  done: NativeRequestResult | undefined
}

/**
 * A text in the making: iterate over its pieces, await `result()`, or do both, in any order. `model.generate()` makes it, and
 * generation starts there and then, whether anybody listens or not; pieces wait here until they are read (at most maxTokens).
 *
 * - Every loop sees every piece from the first, also a second loop or one that starts after the end.
 * - Leaving a loop early (`break`, `return`, an exception) cancels the request: it leaves the batch before the next step.
 *   `result()` then still resolves, with what was generated until then and the finishReason `aborted`.
 * - Aborting by the signal makes loops and `result()` reject with ABORTED.
 * - A failure reaches every loop and every `result()`. A `result()` that nobody awaits causes no unhandled rejection if a loop
 *   got the error.
 */
export class Generate implements AsyncIterable<Piece> {
  /** The seed in use: the given one, or the one chosen for this request. */
  readonly seed: number

  readonly #engine: NativeEngine
  readonly #request: NativeRequest
  readonly #source: PromptSource | undefined
  readonly #feed: RequestFeed | undefined
  readonly #begun = performance.now()
  readonly #pieces: Piece[] = []
  readonly #samples: Sample[]
  /** Nobody wants it any more; a request that comes to be later is cancelled at once. */
  #left = false
  #outcome: Outcome | undefined
  #iterated = false
  #wake: (() => void)[] = []
  #results: Promise<unknown>[] = []
  #stopListening: () => void = () => {}

  /** @internal Made by `model.generate()` and `model.chat()`, which has a prompt only later. */
  constructor(engine: NativeEngine, request: NativeRequest, signal?: AbortSignal, source?: PromptSource, feed?: RequestFeed) {
    this.#engine = engine
    this.#feed = feed
    this.#request = request
    this.#source = source
    this.#samples = Array.from({ length: request.n }, () => ({
      ...{ pieces: [], request: undefined, before: 0, dropped: 0, done: undefined },
    }))
    this.seed = request.seed
    if (signal?.aborted) this.#fail(aborted('The generation', signal), true)
    else if (!source) this.#submit(request)
    if (signal && !this.#outcome) this.#listen(signal)
    if (source && !this.#outcome) this.#submitPrompt(source)
  }

  #submitPrompt(source: PromptSource): void {
    source.prompt(this.#roomOf(this.#request.maxTokens)).then(
      (prompt) => {
        for (const sample of this.#samples) sample.dropped = prompt!.dropped
        this.#submit({ ...this.#request, prompt: prompt!.ids })
      },
      (cause: unknown) => this.#fail(cause, false),
    )
  }

  /** How much of the context messages are dropped for: an answer that needs more drops more when it comes to it. */
  #roomOf(tokens: number): number {
    return this.#source!.drops ? Math.min(tokens, Math.max(1, Math.floor(this.#source!.contextLength / 4))) : 0
  }

  #submit(request: NativeRequest): void {
    if (this.#outcome) return
    try {
      const timeoutMs = request.timeoutMs && Math.max(1, Math.ceil(request.timeoutMs - (performance.now() - this.#begun)))
      const id = this.#engine.submit({ ...request, timeoutMs }, (events) => this.#receive(events))
      for (let i = 0; i < request.n; i++) this.#samples[request.firstSample + i]!.request = id
      if (this.#left) this.#cancel()
    } catch (cause) {
      this.#fail(toInfernodeError(cause), false)
    }
  }

  #listen(signal: AbortSignal): void {
    const onAbort = (): void => {
      this.#cancel()
      this.#fail(aborted('The generation', signal), true)
    }
    signal.addEventListener('abort', onAbort, { once: true })
    this.#stopListening = () => signal.removeEventListener('abort', onAbort)
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Piece, void, undefined> {
    this.#iterated = true
    let next = 0
    try {
      for (;;) {
        const failure = this.#outcome && 'error' in this.#outcome ? this.#outcome : undefined
        // Who aborts wants no more pieces, not even those that have arrived.
        if (failure && (failure.immediate || next >= this.#pieces.length)) throw failure.error
        if (next < this.#pieces.length) yield this.#pieces[next++]!
        else if (this.#outcome) return
        else await this.#news()
      }
    } finally {
      if (!this.#outcome) this.#cancel()
    }
  }

  /**
   * The whole result, once it is there.
   * @throws ABORTED if the signal was triggered; TIMED_OUT, PROMPT_TOO_LONG, CACHE_TOO_SMALL, QUEUE_FULL, DISPOSED,
   * LOGITS_NOT_FINITE, …
   */
  result(): Promise<GenerateResult> {
    const result = this.#ended()
    this.#results.push(result)
    return result
  }

  async #ended(): Promise<GenerateResult> {
    while (!this.#outcome) await this.#news()
    if ('error' in this.#outcome) throw this.#outcome.error
    return this.#outcome.result
  }

  #news(): Promise<void> {
    return new Promise((resolve) => this.#wake.push(resolve))
  }

  #cancel(): void {
    this.#left = true
    for (const request of new Set(this.#samples.map((sample) => sample.request))) {
      if (request !== undefined) this.#engine.cancel(request)
    }
  }

  #receive({ sample: number, tokens, tail, done, error }: NativeEvents): void {
    if (this.#outcome) return
    const sample = this.#samples[number]!
    for (const event of tokens) this.#add(sample, toPiece(event, this.#samples.length > 1 ? number : undefined))
    if (error) {
      this.#cancel()
      return this.#fail(toInfernodeError(error), false)
    }
    if (done && this.#source?.drops && !this.#left && contextIsFull(sample, done, this.#request.maxTokens)) {
      this.#dropMore(number, done, tail)
    } else if (done) {
      this.#endSample(number, done, tail, tokens.length > 0)
    }
    this.#announce()
  }

  #add(sample: Sample, piece: Piece): void {
    sample.pieces.push(piece)
    this.#pieces.push(piece)
  }

  #endSample(number: number, done: NativeRequestResult, tail: string | undefined, withTokens: boolean): void {
    const sample = this.#samples[number]!
    if (tail) this.#addTail(sample, tail, withTokens)
    sample.done = { ...done, generatedTokens: sample.before + done.generatedTokens }
    if (this.#samples.every((each) => each.done)) this.#finish({ result: this.#toResult() })
  }

  /** Held-back text belongs to the last token, unless that was handed out before. */
  #addTail(sample: Sample, tail: string, withTokens: boolean): void {
    const last = sample.pieces.at(-1)!
    if (withTokens && this.#pieces.at(-1) === last) {
      const longer = { ...last, text: last.text + tail }
      sample.pieces[sample.pieces.length - 1] = longer
      this.#pieces[this.#pieces.length - 1] = longer
    } else {
      const number = this.#samples.indexOf(sample)
      this.#add(sample, { text: tail, token: -1, ...(this.#samples.length > 1 && { sample: number }) })
    }
  }

  /** The context is full: the answer goes on after fewer messages, if there are any to drop; held-back text waits for it. */
  #dropMore(number: number, done: NativeRequestResult, tail: string | undefined): void {
    const sample = this.#samples[number]!
    const answer = sample.pieces.filter((piece) => piece.token >= 0 && !piece.echo).map((piece) => piece.token)
    const left = this.#request.maxTokens - answer.length
    this.#source!.prompt(this.#roomOf(left), answer.length, sample.dropped).then(
      (prompt) => {
        if (!prompt || this.#left) {
          this.#endSample(number, this.#left ? { ...done, finishReason: 'aborted' } : done, tail, false)
          return this.#announce()
        }
        sample.dropped = prompt.dropped
        sample.before = answer.length
        this.#submit({
          ...this.#request,
          ...{ prompt: Int32Array.of(...prompt.ids, ...answer), replay: answer.length, maxTokens: left },
          ...{ n: 1, firstSample: number, echo: false },
        })
      },
      (cause: unknown) => this.#fail(cause, false),
    )
  }

  #toResult(): GenerateResult {
    const [first] = this.#samples
    const { promptTokens, cachedTokens, queuedMs, promptMs, generationMs, generatedTokens } = first!.done!
    const completionTokens = this.#samples.reduce((sum, { done }) => sum + done!.generatedTokens, 0)
    const samples = this.#samples.map((sample) => this.#toSampleResult(sample))
    return {
      ...samples[0]!,
      samples,
      usage: { promptTokens, cachedTokens, completionTokens, totalTokens: promptTokens + completionTokens },
      timings: {
        queuedMs,
        promptMs,
        generationMs,
        promptTokensPerSecond: perSecond(promptTokens - cachedTokens, promptMs),
        tokensPerSecond: perSecond(generatedTokens - first!.before - 1, generationMs),
      },
      seed: this.seed,
      ...(this.#source?.drops && { droppedMessages: Math.max(...this.#samples.map(({ dropped }) => dropped)) }),
    }
  }

  #toSampleResult({ pieces, done }: Sample): SampleResult {
    const ofTokens = pieces.filter((piece) => piece.token >= 0)
    return {
      text: pieces.map((piece) => piece.text).join(''),
      tokens: ofTokens.map((piece) => piece.token),
      finishReason: done!.finishReason,
      stopReason: done!.stopReason,
      ...(this.#request.logprobs >= 0 && {
        logprobs: ofTokens.map(({ token, logprob, top }) => ({ token, logprob: logprob ?? null, top: top ?? [] })),
      }),
    }
  }

  #fail(error: unknown, immediate: boolean): void {
    this.#finish({ error, immediate })
  }

  #finish(outcome: Outcome): void {
    if (this.#outcome) return
    this.#outcome = outcome
    this.#stopListening()
    if ('error' in outcome) this.#feed?.tell('failed', () => ({ error: outcome.error }))
    else this.#feed?.tell('ended', () => summaryOf(outcome.result))
    if (this.#iterated) for (const result of this.#results) result.catch(() => {}) // the loop throws the same error
    this.#results = []
    this.#announce()
  }

  #announce(): void {
    const waiting = this.#wake
    this.#wake = []
    for (const wake of waiting) wake()
  }
}

function summaryOf({ finishReason, usage, timings }: GenerateResult) {
  return { finishReason, usage, timings }
}

/** Whether a sample ended for no other reason. */
function contextIsFull(sample: Sample, done: NativeRequestResult, maxTokens: number): boolean {
  return done.finishReason === 'length' && sample.before + done.generatedTokens < maxTokens
}

function toPiece(event: NativeTokenEvent, sample: number | undefined): Piece {
  return {
    text: event.text,
    token: event.token,
    ...(sample !== undefined && { sample }),
    ...(event.echo && { echo: true }),
    ...(event.logprob !== undefined && { logprob: event.logprob }),
    ...(event.top && { top: event.top }),
  }
}

function perSecond(tokens: number, ms: number): number {
  return tokens > 0 && ms > 0 ? (1000 * tokens) / ms : 0
}
