/** Model: a checkpoint, its tokenizer and its engine; one of the classes that a user meets. */
// For users whose `lib` is older than Symbol.asyncDispose.
/// <reference lib="esnext.disposable" preserve="true" />
import { join } from 'node:path'
import { checkMessages, type ChatMessage, plainCopy } from './chat/messages.js'
import { ChatPrompts } from './chat/prompt.js'
import { ShorteningPrompt } from './chat/shorten.js'
import { RequestFeed } from './diagnostics.js'
import { InfernodeError } from './errors.js'
import { openCheckpoint } from './formats/index.js'
import type { Checkpoint } from './formats/checkpoint.js'
import {
  Generate,
  termRules,
  toIds,
  toRequest,
  toTerms,
  type GenerateOptions,
  type ModelLimits,
  type Prompt,
} from './generate.js'
import { compilePlan } from './graph/compile.js'
import type { Plan } from './graph/plan.js'
import { callNative, native, packageRoot, type NativeEngine, type NativeProfile } from './native.js'
import {
  abortSignal,
  aborted,
  boolean,
  callback,
  checkOptions,
  integer,
  invalid,
  listOf,
  nonEmptyString,
  oneOf,
  type Rule,
  type Rules,
} from './options.js'
import { Profile } from './profile.js'
import { askedIsa } from './runtime.js'
import { Tokenizer } from './tokenizer/tokenizer.js'

export type KvType = 'f32' | 'f16' | 'bf16' | 'q8_0'

export interface LoadOptions {
  /**
   * Threads of a step. Default: the useful ones, which is the least of affinity mask, cgroup quota and physical cores. More than those
   * only get in each other's way.
   */
  threads?: number
  /**
   * Threads of a step that computes a prompt (or a part of one, also beside texts that are generated). Prompts are limited by arithmetic,
   * generation by memory, so where `threads` is less than the cores, to leave some to others, prompts may still want all. Tokens are the
   * same for any number. Default: `threads`.
   */
  promptThreads?: number
  /** ISA variant of the kernels. Default: INFERNODE_ISA, or the best that this CPU runs. */
  isa?: string
  /** Where the arithmetic happens. Default, and so far the only one: cpu. */
  backend?: 'cpu'
  /** How the KV cache stores keys and values. Default f16. */
  kvType?: KvType
  /** Positions in the KV cache, shared by all requests; one request never has more. Default: four times the context length, at most 16384. */
  cacheTokens?: number
  /** Most positions of one request, at most what the checkpoint was trained for. Default: just that. */
  contextLength?: number
  /** Requests that may wait; one more is refused with QUEUE_FULL. Default 1024. */
  maxQueue?: number
  /**
   * Keep what is computed of prompts and answers in free pages of the cache, so that a request that begins like an earlier one
   * does not compute that again. Requests at the same time share it too. Default true.
   */
  prefixCache?: boolean
  /**
   * Map the weights (default), or read them into memory. Requests on a mapped file that was cut short or written to fail with
   * FILE_CHANGED; but if that happens in the middle of a step, or the disk fails, the process ends by SIGBUS. `false` is for places
   * where that can happen. docs/reliability.md
   */
  mmap?: boolean
  /**
   * Most bytes of memory that the model may take: loading one that needs more is refused with MEMORY_LIMIT. Counted at their most:
   * weights that are not mapped (all with `mmap: false`), the KV cache (cacheTokens), activations, logits and scratch. Not counted:
   * mapped weights (the system may drop them at any time), the vocabulary, and what requests bring: prompts and texts not yet read.
   * Default: no limit.
   */
  maxMemory?: number
  /** Gives up loading: load() rejects with ABORTED. */
  signal?: AbortSignal
  /** Told before each part of loading. */
  onProgress?: (progress: LoadProgress) => void
}

export interface LoadProgress {
  readonly stage: 'checkpoint' | 'plan' | 'weights' | 'ready'
  /** From 0 to 1. */
  readonly fraction: number
}

export interface ModelInfo {
  readonly name: string
  readonly architecture: string
  readonly format: 'gguf' | 'safetensors'
  readonly path: string
  /** Values in all tensors of the checkpoint. */
  readonly parameters: number
  /** Bytes of all tensors. */
  readonly bytes: number
  /** Bytes by tensor type, most first. */
  readonly types: Readonly<Record<string, number>>
  readonly vocabSize: number
  /** Most positions of one request: the checkpoint's, or what was asked for, or what the cache holds. */
  readonly contextLength: number
  /** The tokens that end a text. */
  readonly eosTokenIds: readonly number[]
  readonly backend: 'cpu'
  readonly isa: string
  readonly threads: number
  /** Of steps that compute prompts. */
  readonly promptThreads: number
  /** Why this many threads. */
  readonly threadsReason: string
  readonly kvType: KvType
  readonly cacheTokens: number
}

/** Durations in milliseconds since the model was loaded; each percentile is right within 5 %. 0 where there was none. */
export interface Percentiles {
  readonly count: number
  readonly p50: number
  readonly p90: number
  readonly p99: number
}

export interface ModelStats {
  readonly weightsBytes: number
  /** Address space of the KV cache, and what of it was ever used. */
  readonly kvBytes: number
  readonly kvBytesUsed: number
  readonly scratchBytes: number
  /** Pages of 64 positions of a group of layers: totalPages = usedPages + freePages. */
  readonly totalPages: number
  /** Held by requests. */
  readonly usedPages: number
  /** Held by more than one request. */
  readonly sharedPages: number
  /** What requests can have. */
  readonly freePages: number
  /** Those of the free ones that are kept for their content. */
  readonly cachedPages: number
  /** How often the content of a page was given up for another. */
  readonly evictedPages: number
  /** Sequences in the batch and in the waiting line: a request has one per sample. */
  readonly running: number
  readonly waiting: number
  /** Sequences that were ever asked for; all counts are since the model was loaded. */
  readonly requests: number
  /** How often one was set back for lack of pages, or for one of higher priority. */
  readonly preemptions: number
  /** Tokens that went through the model. */
  readonly computedTokens: number
  /** Tokens that did not have to, as they were found in the cache. */
  readonly cachedTokens: number
  readonly generatedTokens: number
  /** Generated tokens, and computed tokens of prompts, per second over the latest ten seconds. */
  readonly tokensPerSecond: number
  readonly promptTokensPerSecond: number
  readonly steps: number
  /** Sequences in a step. */
  readonly meanBatch: number
  readonly largestBatch: number
  /** From when a request reached the engine to its first token. */
  readonly firstTokenMs: Percentiles
  /** From one token of a sequence to its next. */
  readonly tokenGapMs: Percentiles
}

export interface EncodeOptions {
  /** Add what the tokenizer puts around a text (beginning of text). Default true. */
  addSpecial?: boolean
  /** Let control tokens that are spelled out in the text act as such. Default false: they are plain text. */
  parseSpecial?: boolean
}

/** A token and its place in the text: `text.slice(start, end)`. Added tokens have start = end. */
export interface TokenInText {
  readonly id: number
  /** The vocabulary's own spelling. */
  readonly piece: string
  readonly start: number
  readonly end: number
}

export interface DecodeOptions {
  /** Leave out control tokens. Default false. */
  skipSpecial?: boolean
}

export interface ProfileOptions {
  /** Pieces of work that are recorded, 32 bytes each; a step has some hundreds to some thousands. Default 1,000,000. */
  maxEvents?: number
}

export interface ScoreOptions extends EncodeOptions, Pick<GenerateOptions, 'priority' | 'caller' | 'timeoutMs'> {
  /** Gives up: score() rejects with ABORTED. */
  signal?: AbortSignal
}

export interface Score {
  /** [T] */
  readonly tokens: Int32Array
  /** [T - 1]: logprobs[i] is ln p(tokens[i + 1] | tokens[0..i]). */
  readonly logprobs: Float32Array
  /** -Σ logprobs, in nats. */
  readonly nll: number
  /** exp(nll / (T - 1)); NaN for fewer than two tokens. */
  readonly perplexity: number
}

/** How to answer a conversation: what generate() takes but for control tokens, and what the template wants to know. */
export interface ChatOptions extends Omit<GenerateOptions, 'addSpecial' | 'parseSpecial'> {
  /** Tools that the model may call, as JSON schemas of functions; templates differ in what they make of them. */
  tools?: readonly object[]
  /** Documents for templates that know them. */
  documents?: readonly object[]
  /** Variables of the template, by their names there: `{ enable_thinking: false }`. Plain data; text in them stays text. */
  templateVariables?: Readonly<Record<string, unknown>>
  /** End the prompt where the assistant's answer begins. Default true. */
  addGenerationPrompt?: boolean
  /** A Jinja template instead of the checkpoint's. */
  chatTemplate?: string
  /**
   * What happens when conversation and answer do not fit into the context. `error` (default): a conversation that is too long is
   * refused with PROMPT_TOO_LONG, an answer that reaches the end has the finishReason `length`. `drop-oldest`: the oldest turns
   * are left out, never system messages at the front nor the last user message; what is left is rendered and computed anew, also
   * in the middle of an answer. The result says how many (`droppedMessages`).
   */
  contextFull?: 'error' | 'drop-oldest'
}

/** The checkpoint in the package: a small model that tells fairy tales. */
export const embeddedModel = join(packageRoot, 'models', 'fairytale-q8_0.gguf')

/** Most tokens of one step: prompts are computed in parts of this size, so scratch memory stays small. */
const batchTokens = 512

/** Address space, not memory: a page of the cache takes memory when it is first written. */
const defaultCacheTokens = 16384

const loadRules: Rules<LoadOptions> = {
  threads: integer(1, 1024),
  promptThreads: integer(1, 1024),
  isa: nonEmptyString,
  backend: oneOf('cpu'),
  kvType: oneOf('f16', 'f32', 'bf16', 'q8_0'),
  cacheTokens: integer(1, 2 ** 31 - 1),
  contextLength: integer(1, 2 ** 31 - 1),
  maxQueue: integer(1, 2 ** 31 - 1),
  prefixCache: boolean,
  mmap: boolean,
  maxMemory: integer(1),
  signal: abortSignal,
  onProgress: callback,
}
const encodeRules: Rules<EncodeOptions> = { addSpecial: boolean, parseSpecial: boolean }
const decodeRules: Rules<DecodeOptions> = { skipSpecial: boolean }
const profileRules: Rules<ProfileOptions> = { maxEvents: integer(1, 2 ** 26) }
const scoreRules: Rules<ScoreOptions> = { ...encodeRules, ...termRules, signal: abortSignal }

const plainObject: Rule = {
  expected: 'an object',
  accepts: (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
}
/** The rest is checked as options of generate(). */
const chatRules: Rules<Omit<ChatOptions, keyof GenerateOptions>> = {
  tools: listOf(plainObject, 'such objects'),
  documents: listOf(plainObject, 'such objects'),
  templateVariables: plainObject,
  addGenerationPrompt: boolean,
  chatTemplate: nonEmptyString,
  contextFull: oneOf('error', 'drop-oldest'),
}

/** What load() gathered; a Model owns it from then on. */
interface Parts {
  readonly engine: NativeEngine
  readonly tokenizer: Tokenizer | null
  readonly info: ModelInfo
  readonly limits: ModelLimits
  readonly prompts: ChatPrompts | null
  readonly plan: Plan
}

export class Model {
  /** What was loaded, and where and how it runs. */
  readonly info: ModelInfo
  readonly #engine: NativeEngine
  readonly #tokenizer: Tokenizer | null
  readonly #limits: ModelLimits
  readonly #prompts: ChatPrompts | null
  /** Until dispose(), as it may be large. */
  #plan: Plan | undefined
  #disposed: Promise<void> | undefined

  private constructor({ engine, tokenizer, info, limits, prompts, plan }: Parts) {
    this.#plan = plan
    this.#prompts = prompts
    this.#engine = engine
    this.#tokenizer = tokenizer
    this.#limits = limits
    this.info = info
  }

  /**
   * Loads a checkpoint: a GGUF file (of a split one, its first file) or a Hugging Face folder; without a path, the small story
   * model that comes with the package. Weights are mapped, so this takes milliseconds.
   * @throws FILE_UNREADABLE, FORMAT_UNKNOWN, FILE_CORRUPT, ARCHITECTURE_UNKNOWN, TENSOR_MISSING, OUT_OF_MEMORY, ABORTED, …
   */
  static async load(path: string = embeddedModel, options?: LoadOptions): Promise<Model> {
    if (typeof path !== 'string' || path === '') throw invalid('path', 'the path of a GGUF file or a Hugging Face folder', path)
    const given = checkOptions(options, loadRules)
    const stage = (stage: LoadProgress['stage'], fraction: number): void => {
      if (given.signal?.aborted) throw aborted('Loading the model', given.signal)
      given.onProgress?.({ stage, fraction })
    }
    stage('checkpoint', 0)
    const checkpoint = await openCheckpoint(path, given.signal ? { signal: given.signal } : {})
    stage('plan', 0.1)
    // The vocabulary is read on a native thread while the plan is made on this one, so it goes first.
    const [tokenizer, compiled] = await Promise.all([
      checkpoint.tokenizer && Tokenizer.load(checkpoint.tokenizer),
      compilePlan(checkpoint),
    ])
    const plan = withContextLength(compiled, given.contextLength)
    stage('weights', 0.5)
    const settings = {
      threads: given.threads ?? 0,
      promptThreads: given.promptThreads ?? 0,
      isa: askedIsa(given.isa),
      kvType: given.kvType ?? 'f16',
      cacheTokens: given.cacheTokens ?? Math.min(4 * plan.contextLength, defaultCacheTokens),
      batchTokens,
      maxQueue: given.maxQueue ?? 1024,
      keepPrefixes: given.prefixCache ?? true,
      mmap: given.mmap ?? true,
      ...(given.maxMemory === undefined ? {} : { maxMemory: given.maxMemory }),
    }
    const engine = await callNative(() => native().createEngine(JSON.stringify(plan), tokenizer?.native ?? null, settings))
    try {
      stage('ready', 1)
      const info = await describeModel(checkpoint, plan, settings)
      const { vocabSize, contextLength } = info
      const limits = { vocabSize, contextLength, generation: checkpoint.generation }
      return new Model({ engine, tokenizer, info, limits, prompts: tokenizer && new ChatPrompts(checkpoint, tokenizer), plan })
    } catch (cause) {
      await engine.dispose()
      throw cause
    }
  }

  /**
   * Continues a prompt. Starts at once and returns at once; the Generate streams pieces, has the whole result, or both.
   * What goes wrong later, the Generate reports.
   * @throws UNKNOWN_OPTION, INVALID_ARGUMENT, TOKEN_UNKNOWN, TOKENIZER_MISSING, DISPOSED
   */
  generate(prompt: Prompt, options?: GenerateOptions): Generate {
    const engine = this.#live()
    if (typeof prompt === 'string') this.#needTokenizer()
    const { request, signal } = toRequest(prompt, options, this.#limits)
    if (request.stop.length > 0) this.#needTokenizer()
    return new Generate(engine, request, signal, undefined, new RequestFeed(engine, this.info.name))
  }

  /**
   * Answers a conversation: the checkpoint's chat template makes the prompt of it. Returns at once, like generate(). What is in
   * messages, tools and variables stays text, also where it spells a control token. The answer ends at the checkpoint's
   * end-of-text tokens and at those that end a turn in its template.
   * @throws CHAT_TEMPLATE_MISSING for a base model, UNKNOWN_OPTION, INVALID_ARGUMENT, TOKEN_UNKNOWN, TOKENIZER_MISSING, DISPOSED;
   * the Generate reports CHAT_TEMPLATE_INVALID
   */
  chat(messages: readonly ChatMessage[], options: ChatOptions = {}): Generate {
    const engine = this.#live()
    this.#needTokenizer()
    const prompts = this.#prompts!
    if (typeof options !== 'object' || options === null) throw invalid('options', 'an object', options)
    const forTemplate: Record<string, unknown> = {}
    const forGenerate: Record<string, unknown> = {}
    for (const [name, value] of Object.entries(options)) {
      ;(Object.hasOwn(chatRules, name) ? forTemplate : forGenerate)[name] = value
    }
    for (const name of ['addSpecial', 'parseSpecial']) {
      if (name in forGenerate) throw new InfernodeError('UNKNOWN_OPTION', name, '')
    }
    const given = checkOptions(forTemplate as Omit<ChatOptions, keyof GenerateOptions>, chatRules)
    const template = prompts.template(given.chatTemplate)
    const conversation = {
      messages: checkMessages(messages),
      tools: plainCopy(given.tools ?? null, 'tools') as unknown[] | null,
      documents: plainCopy(given.documents ?? null, 'documents') as unknown[] | null,
      templateVariables: plainCopy(given.templateVariables ?? {}, 'templateVariables') as Record<string, unknown>,
      addGenerationPrompt: given.addGenerationPrompt ?? true,
      chatTemplate: given.chatTemplate,
    }
    const { request, signal } = toRequest([], forGenerate, this.#limits)
    request.stopTokens = [...new Set([...request.stopTokens, ...prompts.endTokens(template)])]
    const drops = given.contextFull === 'drop-oldest'
    if (drops) request.maxTokensAsked = false // the cache's end is the context's, where there are messages to drop
    const source = new ShorteningPrompt(prompts, conversation, this.#limits, drops)
    return new Generate(engine, request, signal, source, new RequestFeed(engine, this.info.name))
  }

  /**
   * The log-likelihood of each token given all before it, in one context. Text is encoded like a prompt.
   * @throws PROMPT_TOO_LONG for more tokens than the context holds, ABORTED, TIMED_OUT, and what generate() throws
   */
  async score(prompt: Prompt, options?: ScoreOptions): Promise<Score> {
    const { signal, priority, caller, timeoutMs, ...encodeOptions } = checkOptions(options, scoreRules)
    const terms = toTerms({ ...(priority !== undefined && { priority }), ...(caller && { caller }), ...(timeoutMs && { timeoutMs }) })
    const ids = typeof prompt === 'string' ? await this.encode(prompt, encodeOptions) : prompt
    const tokens = toIds(ids, 'prompt', this.#limits)
    const engine = this.#live()
    // A first token has nothing before it that could predict it.
    const logprobs =
      tokens.length < 2 ? new Float32Array() : await abortable(signal, 'Scoring', engine, () => engine.score(tokens, terms))
    let nll = 0
    for (const logprob of logprobs) nll -= logprob
    return { tokens, logprobs, nll, perplexity: logprobs.length > 0 ? Math.exp(nll / logprobs.length) : NaN }
  }

  /**
   * The checkpoint's tokenizer: encodings with masks, in batches, cut and filled up to a length. Lives on after dispose().
   * @throws TOKENIZER_MISSING
   */
  get tokenizer(): Tokenizer {
    return this.#needTokenizer()
  }

  /** The token ids of a text, as generate() would see it. */
  async encode(text: string, options?: EncodeOptions): Promise<Int32Array> {
    return (await this.#encode(text, options, false)).ids
  }

  /** The tokens of a text with their spelling and their places in it. */
  async tokenize(text: string, options?: EncodeOptions): Promise<TokenInText[]> {
    const { ids, offsets } = await this.#encode(text, options, true)
    const pieces = this.#needTokenizer().pieces(ids)
    return pieces.map((piece, i) => ({ id: ids[i]!, piece, start: offsets[2 * i]!, end: offsets[2 * i + 1]! }))
  }

  /** The text of tokens. Bytes that do not form a character become U+FFFD. */
  async decode(ids: readonly number[] | Int32Array, options?: DecodeOptions): Promise<string> {
    this.#live()
    const given = checkOptions(options, decodeRules)
    const { vocabSize } = this.#limits
    const tokens = toIds(ids, 'ids', { vocabSize, contextLength: Infinity })
    return this.#needTokenizer().decode(tokens, { skipSpecial: given.skipSpecial ?? false })
  }

  /** Memory and work of the engine: at this moment, and since it was loaded. Cheap enough to be called every second. */
  stats(): ModelStats {
    return this.#live().stats()
  }

  /**
   * Records what each thread does, op by op, while `work` runs, which is other calls on this model. Costs some tenths of a
   * microsecond per piece of work, and nothing when no profile is taken. One profile at a time: a second one ends the first.
   * @throws DISPOSED, OUT_OF_MEMORY, and what `work` throws
   */
  async profile(work: () => Promise<unknown>, options?: ProfileOptions): Promise<Profile> {
    const engine = this.#live()
    if (typeof work !== 'function') throw invalid('work', 'a function', work)
    const { maxEvents = 1_000_000 } = checkOptions(options, profileRules)
    const plan = this.#plan!
    await callNative(() => engine.startProfile(maxEvents))
    let recorded: NativeProfile | undefined
    try {
      await work()
    } finally {
      recorded = await callNative(() => engine.stopProfile())
    }
    return new Profile(plan, this.info.kvType, recorded ?? { events: new Float64Array(), runs: new Float64Array(), lost: 0 })
  }

  /**
   * Frees weights, cache and scratch memory; running requests end with DISPOSED. Resolves when it is done; may be called again.
   * A model that nobody refers to any more is freed without it, at a time that the garbage collector chooses.
   */
  dispose(): Promise<void> {
    this.#plan = undefined
    this.#disposed ??= callNative(() => this.#engine.dispose())
    return this.#disposed
  }

  /** `await using model = await Model.load()` disposes at the end of the block. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose()
  }

  async #encode(text: string, options: EncodeOptions | undefined, offsets: boolean) {
    this.#live()
    if (typeof text !== 'string') throw invalid('text', 'a string', text)
    const { addSpecial = true, parseSpecial = false } = checkOptions(options, encodeRules)
    return this.#needTokenizer().encode(text, { addSpecial, parseSpecial, offsets })
  }

  #live(): NativeEngine {
    if (this.#disposed) throw new InfernodeError('DISPOSED', 'model')
    return this.#engine
  }

  #needTokenizer(): Tokenizer {
    if (!this.#tokenizer) throw new InfernodeError('TOKENIZER_MISSING', this.info.path)
    return this.#tokenizer
  }
}

/** The same plan for shorter contexts. */
function withContextLength(plan: Plan, contextLength: number | undefined): Plan {
  if (contextLength === undefined) return plan
  if (contextLength > plan.contextLength) {
    throw invalid('contextLength', `at most ${plan.contextLength}, which the checkpoint was trained for`, contextLength)
  }
  return { ...plan, contextLength }
}

async function describeModel(
  checkpoint: Checkpoint,
  plan: Plan,
  settings: { threads: number; promptThreads: number; isa: string; kvType: KvType; cacheTokens: number },
): Promise<ModelInfo> {
  const { threads, promptThreads, isa, kvType, cacheTokens } = settings
  const runtime = await callNative(() => native().info({ threads, isa }))
  return {
    name: checkpoint.name,
    architecture: plan.architecture,
    format: checkpoint.format,
    path: checkpoint.path,
    ...weigh(checkpoint),
    vocabSize: plan.vocabSize,
    contextLength: Math.min(plan.contextLength, cacheTokens),
    eosTokenIds: checkpoint.generation.eosTokenIds,
    backend: 'cpu',
    isa: runtime.isa,
    threads: runtime.threads,
    promptThreads: promptThreads || runtime.threads,
    threadsReason: runtime.threadsReason,
    kvType,
    cacheTokens,
  }
}

/** Values and bytes of all tensors, and bytes by type. */
export function weigh({ tensors }: Pick<Checkpoint, 'tensors'>): Pick<ModelInfo, 'parameters' | 'bytes' | 'types'> {
  const types: Record<string, number> = {}
  let parameters = 0
  let bytes = 0
  for (const tensor of tensors.values()) {
    parameters += tensor.shape.reduce((product, size) => product * size, 1)
    bytes += tensor.bytes
    types[tensor.type] = (types[tensor.type] ?? 0) + tensor.bytes
  }
  return { parameters, bytes, types: Object.fromEntries(Object.entries(types).sort(([, a], [, b]) => b - a)) }
}

/** Waits for native work that has a request id; an abort cancels it and rejects at once. */
async function abortable<T>(
  signal: AbortSignal | undefined,
  what: string,
  engine: NativeEngine,
  start: () => { request: number; result: Promise<T> },
): Promise<T> {
  if (signal?.aborted) throw aborted(what, signal)
  return callNative(() => {
    const { request, result } = start()
    if (!signal) return result
    return new Promise<T>((resolve, reject) => {
      const onAbort = (): void => {
        engine.cancel(request)
        reject(aborted(what, signal))
      }
      signal.addEventListener('abort', onAbort, { once: true })
      result.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
    })
  })
}
