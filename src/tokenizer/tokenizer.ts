/** A checkpoint's tokenizer: text to token ids and back, off the event loop. */
import { InfernodeError } from '../errors.js'
import type { TokenizerSource } from '../formats/checkpoint.js'
import { callNative, native, type NativeTokenizer } from '../native.js'
import { boolean, checkOptions, integer, invalid, oneOf, type Rule, type Rules } from '../options.js'
import type {
  LengthRules,
  Padding,
  PreTokenizerStep,
  RegexStep,
  TemplatePart,
  Token,
  TokenizerDescription,
  Truncation,
  TruncationStrategy,
} from './description.js'
import { describeGguf } from './from-gguf.js'
import { describeTokenizerJson } from './from-tokenizer-json.js'
import { assemble, type Encoding, type Frame, padAll } from './lengths.js'
import { compileRegex, type RegexProgram, RegexUnsupported } from './regex.js'

export interface TokenizerEncodeOptions {
  /** Add what the tokenizer puts around a text (beginning of text). Default true. */
  readonly addSpecial?: boolean
  /** Let control tokens that are spelled out in the text act as such. Default false: they are plain text. */
  readonly parseSpecial?: boolean
  /** Default false. */
  readonly offsets?: boolean
  /** A second text, encoded together with the first as models want it that compare texts. */
  readonly pair?: string
}

export interface Encoded {
  readonly ids: Int32Array
  /** [start, end] of each id in UTF-16 code units of the text (of a pair: of the one it comes from); empty unless asked for. Bytes of a character share its place. */
  readonly offsets: Uint32Array
  /** Of a pair: which segment each id belongs to, as the tokenizer numbers them; else empty. */
  readonly typeIds: Uint32Array
}

/** One text, or two that models compare. */
export type TokenizerInput = string | readonly [first: string, second: string]

export interface TruncationOptions {
  /** Most ids of a part, with those that the tokenizer adds. Default: what tokenizer.json says. */
  readonly maxLength?: number
  /** How many ids of a text a part shares with the one before it; parts after the first are `overflowing`. Default 0. */
  readonly stride?: number
  /** Which of two texts is cut: the longer one, the first, the second. Default 'longest_first'. */
  readonly strategy?: TruncationStrategy
  /** Where ids go away. Default 'right'. */
  readonly direction?: 'left' | 'right'
}

export interface PaddingOptions {
  /** To the longest of the batch, or to so many ids. Default 'longest', or what tokenizer.json says. */
  readonly length?: 'longest' | number
  /** The length is a multiple of this. Default 1. */
  readonly multipleOf?: number
  /** Where padding goes. Default 'right'. */
  readonly direction?: 'left' | 'right'
  /** Default: the checkpoint's padding token. */
  readonly id?: number
  /** Default 0. */
  readonly typeId?: number
}

export interface TokenizerInputOptions {
  /** Add what the tokenizer puts around a text. Default true. */
  readonly addSpecial?: boolean
  /** Let control tokens that are spelled out in the text act as such. Default false. */
  readonly parseSpecial?: boolean
  /** true: as tokenizer.json says. What is given counts before what the file says. Default false: nothing is cut. */
  readonly truncation?: boolean | TruncationOptions
  /** true: as tokenizer.json says, or to the longest of the batch. Default false: nothing is filled up. */
  readonly padding?: boolean | PaddingOptions
}

const directions = oneOf('left', 'right')
const ids = integer(0, 2 ** 31 - 1)
const truncationRules: Rules<TruncationOptions> = {
  maxLength: ids,
  stride: ids,
  strategy: oneOf('longest_first', 'only_first', 'only_second'),
  direction: directions,
}
const paddingRules: Rules<PaddingOptions> = {
  length: { expected: `"longest" or ${ids.expected}`, accepts: (value) => value === 'longest' || ids.accepts(value) },
  multipleOf: integer(1, 2 ** 20),
  direction: directions,
  id: ids,
  typeId: ids,
}
const settings: Rule = {
  expected: 'true, false or an object',
  accepts: (value) => typeof value === 'boolean' || (typeof value === 'object' && value !== null),
}
const inputRules: Rules<TokenizerInputOptions> = { addSpecial: boolean, parseSpecial: boolean, truncation: settings, padding: settings }

/** What a file says beside the description that native code reads. */
interface Beside extends LengthRules {
  /** The padding token, by id or by piece; undefined where the checkpoint has none. */
  readonly pad: Token | undefined
}

export class Tokenizer {
  /** The handle that the engine takes. @internal */
  readonly native: NativeTokenizer
  readonly #frames: { readonly single: Frame; readonly pair: Frame }
  readonly #beside: Beside

  private constructor(handle: NativeTokenizer, description: TokenizerDescription, beside: Beside) {
    this.native = handle
    this.#beside = beside
    const frame = (parts: readonly TemplatePart[]): Frame =>
      parts.map((part) => {
        if ('text' in part) return { text: part.text === 'A' ? 0 : 1, type: part.type }
        return { id: typeof part.id === 'number' ? part.id : handle.find(part.id), type: part.type }
      })
    this.#frames = { single: frame(description.single), pair: frame(description.pair) }
  }

  /**
   * Reads the vocabulary where `source` says it is. Throws TOKENIZER_UNSUPPORTED for what infernode does not know how to do,
   * TOKENIZER_INVALID or FILE_CORRUPT for damaged files.
   * @internal
   */
  static async load(source: TokenizerSource): Promise<Tokenizer> {
    const { description, beside } = await read(source)
    reportSlowly(description, source.path)
    const handle = await callNative(() => native().createTokenizer(JSON.stringify(description)))
    return new Tokenizer(handle, description, beside)
  }

  /**
   * A text, or a pair of texts, as models take it that read whole texts: masks and type ids beside the ids, cut and filled up
   * as asked for.
   * @throws INVALID_ARGUMENT, UNKNOWN_OPTION
   */
  async encodeInput(input: TokenizerInput, options?: TokenizerInputOptions): Promise<Encoding> {
    return (await this.encodeBatch([input], options))[0]!
  }

  /** The same for several, which padding makes equally long. */
  async encodeBatch(inputs: readonly TokenizerInput[], options?: TokenizerInputOptions): Promise<Encoding[]> {
    if (!Array.isArray(inputs)) throw invalid('inputs', 'an array of texts and pairs', inputs)
    const pairs = inputs.map((input: unknown) => (Array.isArray(input) ? input : [input]) as string[])
    for (const [i, texts] of pairs.entries())
      if (texts.length < 1 || texts.length > 2 || !texts.every((text) => typeof text === 'string'))
        throw invalid(`inputs[${i}]`, 'a string, or a pair of strings', inputs[i])
    const { addSpecial = true, parseSpecial = false, truncation = false, padding = false } = checkOptions(options, inputRules)
    const cut = this.#truncation(truncation)
    const fill = this.#padding(padding)
    const encodings = await Promise.all(
      pairs.map(async (texts) => {
        const encoded = texts.map((text) => this.encode(text, { addSpecial: false, parseSpecial, offsets: true }))
        const frame = this.#frames[texts.length === 1 ? 'single' : 'pair'].filter((part) => addSpecial || 'text' in part)
        return assemble(await Promise.all(encoded), frame, cut)
      }),
    )
    return fill ? padAll(encodings, fill) : encodings
  }

  #truncation(given: boolean | TruncationOptions): Truncation | null {
    if (given === false) return null
    const file = this.#beside.truncation
    const { maxLength = file?.maxLength, ...options } = checkOptions(given === true ? {} : given, truncationRules)
    if (maxLength === undefined) throw invalid('truncation.maxLength', 'a length, since the tokenizer names none', undefined)
    return { ...(file ?? { stride: 0, strategy: 'longest_first', direction: 'right' }), ...options, maxLength }
  }

  #padding(given: boolean | PaddingOptions): Padding | null {
    if (given === false) return null
    const { padding: file, pad } = this.#beside
    const known = typeof pad === 'string' ? this.find(pad) : pad
    const { id = file?.id ?? known, ...options } = checkOptions(given === true ? {} : given, paddingRules)
    if (id === undefined || id >= this.vocabSize)
      throw invalid('padding.id', `an id below ${this.vocabSize}, since the tokenizer names none`, id)
    return { ...(file ?? { length: 'longest', multipleOf: 1, direction: 'right', typeId: 0 }), ...options, id }
  }

  get vocabSize(): number {
    return this.native.vocabSize
  }

  async encode(text: string, options: TokenizerEncodeOptions = {}): Promise<Encoded> {
    const { addSpecial = true, parseSpecial = false, offsets = false, pair } = options
    return callNative(() => this.native.encode(text, { addSpecial, parseSpecial, offsets, ...(pair === undefined ? {} : { pair }) }))
  }

  /** Bytes that make no character become U+FFFD. `skipSpecial` leaves out control tokens; default false. Throws TOKEN_UNKNOWN. */
  async decode(ids: Int32Array | readonly number[], options: { readonly skipSpecial?: boolean } = {}): Promise<string> {
    const { skipSpecial = false } = options
    return callNative(() => this.native.decode(toInt32(ids, this.vocabSize), { skipSpecial }))
  }

  /** The vocabulary's own spelling of each id. Throws TOKEN_UNKNOWN. */
  pieces(ids: Int32Array | readonly number[]): string[] {
    const checked = toInt32(ids, this.vocabSize)
    for (const id of checked) if (id < 0 || id >= this.vocabSize) throw unknownToken(id, this.vocabSize)
    return this.native.pieces(checked)
  }

  isSpecial(id: number): boolean {
    return this.native.isSpecial(id)
  }

  /** The id of a piece or an added token, in the vocabulary's own spelling; undefined where there is none. */
  find(piece: string): number | undefined {
    const id = this.native.find(piece)
    return id < 0 ? undefined : id
  }
}

/** What the native side makes the tokenizer from. */
export async function describe(source: TokenizerSource): Promise<TokenizerDescription> {
  return (await read(source)).description
}

async function read(source: TokenizerSource): Promise<{ description: TokenizerDescription; beside: Beside }> {
  if (source.from === 'gguf') {
    const pad = source.metadata.get('tokenizer.ggml.padding_token_id')
    const beside = { truncation: null, padding: null, pad: typeof pad === 'number' ? pad : undefined }
    return { description: await withPrograms(describeGguf(source), source.path), beside }
  }
  const skeleton = await callNative(() => native().tokenizerJsonSkeleton(source.path))
  const { description, rules } = describeTokenizerJson(skeleton, source.path, source.config)
  const token = source.config.pad_token
  const pad = typeof token === 'object' && token !== null ? (token as { content?: unknown }).content : token
  const beside = { ...rules, pad: typeof pad === 'string' ? pad : undefined }
  return { description: await withPrograms(description, source.path), beside }
}

/** The expressions without a matcher of their own that a tokenizer splits text by, in their order. */
export function expressions({ preTokenizer }: Pick<TokenizerDescription, 'preTokenizer'>): string[] {
  return preTokenizer.flatMap((step) => (isRegex(step) ? [step.regex] : []))
}

function isRegex(step: PreTokenizerStep): step is RegexStep {
  return typeof step === 'object' && 'regex' in step
}

async function withPrograms(description: TokenizerDescription, path: string): Promise<TokenizerDescription> {
  if (expressions(description).length === 0) return description
  const preTokenizer: PreTokenizerStep[] = []
  for (const step of description.preTokenizer) {
    preTokenizer.push(isRegex(step) ? { ...step, program: await programOf(step.regex, path) } : step)
  }
  return { ...description, preTokenizer }
}

async function programOf(regex: string, path: string): Promise<RegexProgram> {
  try {
    return await compileRegex(regex)
  } catch (cause) {
    if (!(cause instanceof RegexUnsupported)) throw cause
    throw new InfernodeError('TOKENIZER_UNSUPPORTED', path, 'pre-tokenizer', `${regex} (${cause.message})`)
  }
}

let reported = false

/** Once per process: it is not wrong, only slower. */
function reportSlowly(description: TokenizerDescription, path: string): void {
  const [regex] = expressions(description)
  if (regex === undefined || reported) return
  reported = true
  const warning = `${path} splits text by an expression that infernode has no matcher for, so tokenizing is slower: ${regex}`
  process.emitWarning(warning, { type: 'InfernodeWarning', code: 'TOKENIZER_SLOW' })
}

/** Int32Array would wrap large numbers around to other tokens. */
function toInt32(ids: Int32Array | readonly number[], vocabSize: number): Int32Array {
  if (ids instanceof Int32Array) return ids
  for (const id of ids) if (!Number.isInteger(id) || id < 0 || id >= vocabSize) throw unknownToken(id, vocabSize)
  return Int32Array.from(ids)
}

function unknownToken(id: number, vocabSize: number): InfernodeError {
  return new InfernodeError('TOKEN_UNKNOWN', String(id), String(vocabSize))
}
