/** A checkpoint's tokenizer: text to token ids and back, off the event loop. */
import { InfernodeError } from '../errors.js'
import type { TokenizerSource } from '../formats/checkpoint.js'
import { callNative, native, type NativeTokenizer } from '../native.js'
import type { PreTokenizerStep, RegexStep, TokenizerDescription } from './description.js'
import { describeGguf } from './from-gguf.js'
import { describeTokenizerJson } from './from-tokenizer-json.js'
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

export class Tokenizer {
  /** The handle that the engine takes. */
  readonly native: NativeTokenizer

  private constructor(handle: NativeTokenizer) {
    this.native = handle
  }

  /**
   * Reads the vocabulary where `source` says it is. Throws TOKENIZER_UNSUPPORTED for what infernode does not know how to do,
   * TOKENIZER_INVALID or FILE_CORRUPT for damaged files.
   */
  static async load(source: TokenizerSource): Promise<Tokenizer> {
    const description = await describe(source)
    if (source.from === 'tokenizer.json') reportSlowly(description, source.path)
    return new Tokenizer(await callNative(() => native().createTokenizer(JSON.stringify(description))))
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
  if (source.from === 'gguf') return withPrograms(describeGguf(source), source.path)
  const skeleton = await callNative(() => native().tokenizerJsonSkeleton(source.path))
  return withPrograms(describeTokenizerJson(skeleton, source.path, source.config), source.path)
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
