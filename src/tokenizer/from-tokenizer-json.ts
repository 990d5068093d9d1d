/** Describes a tokenizer.json from everything in it but vocabulary, merges and added tokens. */
import { InfernodeError } from '../errors.js'
import type { SubwordModel, TokenizerDescription } from './description.js'
import { splitPatternOf, type SplitPattern } from './patterns.js'

type Json = Readonly<Record<string, unknown>>

/** Tokenizer classes of transformers that put bos_token and eos_token around a text whatever the post-processor says. */
const llamaClasses = ['Llama', 'CodeLlama', 'Gemma', 'Cohere'].flatMap((name) => [`${name}Tokenizer`, `${name}TokenizerFast`])

/**
 * `skeleton` is the text that native().tokenizerJsonSkeleton(path) gives, `config` tokenizer_config.json. Throws
 * TOKENIZER_UNSUPPORTED naming the component that is not known: infernode never guesses how to split text. `truncation` and
 * `padding` are the caller's business and not applied.
 */
export function describeTokenizerJson(skeleton: string, path: string, config: Json = {}): TokenizerDescription {
  const root = JSON.parse(skeleton) as Json
  const reader = new Reader(path)
  const vocab = { from: 'tokenizer.json', file: path } as const
  const model = asObject(root.model) ?? {}
  const type = reader.modelType(model)
  if (type === 'WordPiece' || type === 'Unigram') {
    const kind = type === 'WordPiece' ? 'wordpiece' : 'unigram'
    return { ...unread, vocab, model: { kind } }
  }
  if (type !== 'BPE') throw reader.unsupported('model', type)
  const { patterns, byteLevel, addSpacePrefix } = reader.preTokenizer(root.pre_tokenizer)
  if (!byteLevel) {
    const bpe: SubwordModel = { kind: 'bpe', byteLevel, ignoreMerges: false, addSpacePrefix, unknownPiece: null }
    return { ...unread, vocab, model: bpe }
  }
  reader.checkDecoder(root.decoder)
  return {
    vocab,
    model: reader.bpe(model, addSpacePrefix),
    normalizer: reader.normalizer(root.normalizer),
    preTokenizer: patterns,
    ...reader.postProcessor(root.post_processor),
    ...reader.llamaAround(config),
  }
}

/** For kinds that native code refuses: what goes with them is not looked at. */
const unread = {
  normalizer: [],
  preTokenizer: [],
  before: [],
  after: [],
  trimOffsets: false,
  trimKeepsFirst: false,
} as const satisfies Partial<TokenizerDescription>

interface PreTokenizer {
  patterns: SplitPattern[]
  byteLevel: boolean
  addSpacePrefix: boolean
}

type Around = Pick<TokenizerDescription, 'before' | 'after' | 'trimOffsets' | 'trimKeepsFirst'>

class Reader {
  constructor(private readonly path: string) {}

  unsupported(component: string, name: string): InfernodeError {
    return new InfernodeError('TOKENIZER_UNSUPPORTED', this.path, component, name)
  }

  private invalid(field: string, reason: string): InfernodeError {
    return new InfernodeError('TOKENIZER_INVALID', this.path, field, reason)
  }

  modelType(model: Json): string {
    if (typeof model.type === 'string') return model.type
    // Early files name no type; only BPE has these two fields.
    if ('end_of_word_suffix' in model && 'fuse_unk' in model) return 'BPE'
    throw this.invalid('model.type', 'missing')
  }

  bpe(model: Json, addSpacePrefix: boolean): SubwordModel {
    if (model.dropout) throw this.unsupported('model option', 'dropout')
    if (model.byte_fallback === true) throw this.unsupported('model option', 'byte_fallback over bytes')
    for (const affix of ['continuing_subword_prefix', 'end_of_word_suffix'])
      if (model[affix]) throw this.unsupported('model option', `${affix} "${String(model[affix])}"`)
    const unknown = model.unk_token ?? null
    if (unknown !== null && typeof unknown !== 'string') throw this.invalid('model.unk_token', 'expected a string')
    if (unknown !== null && model.fuse_unk === true) throw this.unsupported('model option', 'fuse_unk over bytes')
    return { kind: 'bpe', byteLevel: true, ignoreMerges: model.ignore_merges === true, addSpacePrefix, unknownPiece: unknown }
  }

  normalizer(value: unknown): 'nfc'[] {
    return this.flatten(value, 'normalizer', 'normalizers').map(({ type }) => {
      if (type !== 'NFC') throw this.unsupported('normalizer', String(type))
      return 'nfc'
    })
  }

  preTokenizer(value: unknown): PreTokenizer {
    const result: PreTokenizer = { patterns: [], byteLevel: false, addSpacePrefix: false }
    const steps = this.flatten(value, 'pre-tokenizer', 'pretokenizers')
    if (!steps.some(({ type }) => type === 'ByteLevel')) return result
    for (const [i, step] of steps.entries()) {
      switch (step.type) {
        case 'ByteLevel':
          if (result.byteLevel) throw this.unsupported('pre-tokenizer', 'ByteLevel twice')
          // Later it would put a space before each piece.
          if (step.add_prefix_space === true && i > 0)
            throw this.unsupported('pre-tokenizer', 'ByteLevel with add_prefix_space after others')
          result.addSpacePrefix = step.add_prefix_space === true
          result.byteLevel = true
          if (step.use_regex !== false) result.patterns.push('gpt2')
          break
        case 'Split':
          result.patterns.push(this.split(step, result.byteLevel))
          break
        case 'Digits':
          result.patterns.push(this.digits(step.individual_digits === true, result.byteLevel))
          break
        case 'Punctuation':
          if (step.behavior !== 'Contiguous' || result.byteLevel)
            throw this.unsupported('pre-tokenizer', `Punctuation, ${String(step.behavior)}`)
          result.patterns.push('punctuationRuns')
          break
        default:
          throw this.unsupported('pre-tokenizer', String(step.type))
      }
    }
    return result
  }

  private digits(individual: boolean, overBytes: boolean): SplitPattern {
    if (!overBytes) return individual ? 'digits' : 'digitRuns'
    if (individual) throw this.unsupported('pre-tokenizer', 'Digits one by one after ByteLevel')
    return 'byteDigitRuns'
  }

  private split(step: Json, overBytes: boolean): SplitPattern {
    const { Regex: regex, String: text } = asObject(step.pattern) ?? {}
    if (typeof regex !== 'string') throw this.unsupported('pre-tokenizer', `Split at "${String(text)}"`)
    const found = splitPatternOf(regex)
    if (!found) throw this.unsupported('pre-tokenizer', regex)
    if (overBytes && found.name !== 'asciiTriples') throw this.unsupported('pre-tokenizer', `Split at ${regex} after ByteLevel`)
    const isolates = step.behavior === 'Isolated' && step.invert !== true
    const keepsMatches = step.behavior === 'Removed' && step.invert === true && found.total
    if (!isolates && !keepsMatches)
      throw this.unsupported('pre-tokenizer', `Split, ${String(step.behavior)}${step.invert ? ', inverted' : ''}`)
    return found.name
  }

  postProcessor(value: unknown): Around {
    let around: Around = { before: [], after: [], trimOffsets: false, trimKeepsFirst: false }
    for (const step of this.flatten(value, 'post-processor', 'processors')) {
      switch (step.type) {
        case 'ByteLevel':
          around = { ...around, ...trimming(step) }
          break
        case 'TemplateProcessing':
          around = { ...around, ...this.template(step) }
          break
        case 'RobertaProcessing':
        case 'BertProcessing':
          around = { ...around, before: [this.pairId(step, 'cls')], after: [this.pairId(step, 'sep')] }
          if (step.type === 'RobertaProcessing') around = { ...around, ...trimming(step) }
          break
        default:
          throw this.unsupported('post-processor', String(step.type))
      }
    }
    return around
  }

  llamaAround(config: Json): Partial<Around> {
    if (!llamaClasses.includes(String(config.tokenizer_class))) return {}
    const token = (name: string, wanted: boolean): string[] => {
      if (!wanted) return []
      const given = config[name]
      const content = typeof given === 'string' ? given : asObject(given)?.content
      if (typeof content !== 'string')
        throw this.invalid(`tokenizer_config.json: ${name}`, 'missing, but it is to be added to each text')
      return [content]
    }
    return {
      before: token('bos_token', config.add_bos_token !== false),
      after: token('eos_token', config.add_eos_token === true),
    }
  }

  /** The form for a single text: special tokens, the text once, special tokens. */
  private template(step: Json): { before: number[]; after: number[] } {
    const before: number[] = []
    const after: number[] = []
    let seen = false
    if (!Array.isArray(step.single)) throw this.invalid('post_processor.single', 'expected an array')
    for (const item of step.single as unknown[]) {
      const special = asObject(asObject(item)?.SpecialToken)
      if (special) {
        ;(seen ? after : before).push(...this.specialIds(step, String(special.id)))
        continue
      }
      if (seen || asObject(asObject(item)?.Sequence)?.id !== 'A')
        throw this.unsupported('post-processor', 'template with several texts')
      seen = true
    }
    if (!seen) throw this.invalid('post_processor.single', 'the text is not in it')
    return { before, after }
  }

  private specialIds(step: Json, name: string): number[] {
    const ids = asObject(asObject(step.special_tokens)?.[name])?.ids
    if (!Array.isArray(ids) || !ids.every((id) => Number.isInteger(id)))
      throw this.invalid('post_processor.special_tokens', `no ids for "${name}"`)
    return ids as number[]
  }

  /** ["<s>", 0] */
  private pairId(step: Json, field: string): number {
    const pair = step[field]
    if (!Array.isArray(pair) || !Number.isInteger(pair[1]))
      throw this.invalid(`post_processor.${field}`, 'expected a token and its id')
    return pair[1] as number
  }

  checkDecoder(value: unknown): void {
    for (const { type } of this.flatten(value, 'decoder', 'decoders'))
      if (type !== 'ByteLevel') throw this.unsupported('decoder', String(type))
  }

  /** A component, or those of a Sequence; null is none. */
  private flatten(value: unknown, component: string, list: string): Json[] {
    if (value === null || value === undefined) return []
    const step = asObject(value)
    if (!step) throw this.invalid(component, 'expected an object')
    if (step.type !== 'Sequence') return [step]
    const steps = step[list]
    if (!Array.isArray(steps)) throw this.invalid(component, `expected ${list}`)
    return steps.flatMap((inner) => this.flatten(inner, component, list))
  }
}

function trimming(step: Json): Pick<Around, 'trimOffsets' | 'trimKeepsFirst'> {
  const trimOffsets = step.trim_offsets !== false
  return { trimOffsets, trimKeepsFirst: trimOffsets && step.add_prefix_space === true }
}

function asObject(value: unknown): Json | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : undefined
}
