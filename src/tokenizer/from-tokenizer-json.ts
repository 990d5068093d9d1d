/** Describes a tokenizer.json from everything in it but vocabulary, merges and added tokens. */
import { InfernodeError } from '../errors.js'
import type {
  DecoderStep,
  LengthRules,
  NormalizerStep,
  Padding,
  PreTokenizerStep,
  SplitBehavior,
  SubwordModel,
  TemplatePart,
  TokenizerDescription,
  Truncation,
  TruncationStrategy,
} from './description.js'
import { bertPreTokenizer, splitPatternOf } from './patterns.js'

type Json = Readonly<Record<string, unknown>>

/** Tokenizer classes of transformers that put bos_token and eos_token around a text whatever the post-processor says. */
const llamaClasses = ['Llama', 'CodeLlama', 'Gemma', 'Cohere'].flatMap((name) => [`${name}Tokenizer`, `${name}TokenizerFast`])

/**
 * `skeleton` is the text that native().tokenizerJsonSkeleton(path) gives, `config` tokenizer_config.json. Throws
 * TOKENIZER_UNSUPPORTED naming the component that is not known: infernode never guesses how to split text.
 */
export function describeTokenizerJson(
  skeleton: string,
  path: string,
  config: Json = {},
): { description: TokenizerDescription; rules: LengthRules } {
  const root = JSON.parse(skeleton) as Json
  const reader = new Reader(path)
  const model = asObject(root.model) ?? {}
  const { steps, byteLevel, addSpacePrefix } = reader.preTokenizer(root.pre_tokenizer)
  const description = {
    vocab: { from: 'tokenizer.json', file: path },
    normalizer: reader.normalizer(root.normalizer),
    preTokenizer: steps,
    model: reader.model(model, byteLevel, addSpacePrefix),
    decoder: byteLevel ? reader.byteLevelDecoder(root.decoder) : reader.decoder(root.decoder),
    ...reader.postProcessor(root.post_processor),
    ...reader.llamaAround(config),
  } as const
  return { description, rules: { truncation: reader.truncation(root.truncation), padding: reader.padding(root.padding) } }
}

interface PreTokenizer {
  steps: PreTokenizerStep[]
  byteLevel: boolean
  addSpacePrefix: boolean
}

type Around = Pick<TokenizerDescription, 'single' | 'pair' | 'trimOffsets' | 'trimKeepsFirst'>

const behaviors: Readonly<Record<string, SplitBehavior>> = {
  Isolated: 'isolated',
  Removed: 'removed',
  MergedWithPrevious: 'mergedWithPrevious',
  MergedWithNext: 'mergedWithNext',
  Contiguous: 'contiguous',
}

const strategies: Readonly<Record<string, TruncationStrategy>> = {
  LongestFirst: 'longest_first',
  OnlyFirst: 'only_first',
  OnlySecond: 'only_second',
}

const bare: Readonly<Record<string, NormalizerStep>> = {
  NFC: 'nfc',
  NFD: 'nfd',
  NFKC: 'nfkc',
  NFKD: 'nfkd',
  Lowercase: 'lowercase',
  StripAccents: 'stripMarks',
}

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

  model(model: Json, byteLevel: boolean, addSpacePrefix: boolean): SubwordModel {
    const type = this.modelType(model)
    if (type === 'BPE') return this.bpe(model, byteLevel, addSpacePrefix)
    if (type !== 'WordPiece' && type !== 'Unigram') throw this.unsupported('model', type)
    if (byteLevel) throw this.unsupported('pre-tokenizer', `ByteLevel for ${type}`)
    if (type === 'Unigram') {
      const unknown = model.unk_id ?? null
      if (unknown !== null && typeof unknown !== 'number') throw this.invalid('model.unk_id', 'expected an id')
      return { kind: 'unigram', unknown, byteFallback: model.byte_fallback === true, onlyText: false }
    }
    const { unk_token: unknown = '[UNK]', continuing_subword_prefix: continuing = '##', max_input_chars_per_word: most = 100 } = model
    if (typeof unknown !== 'string') throw this.invalid('model.unk_token', 'expected a string')
    if (typeof continuing !== 'string') throw this.invalid('model.continuing_subword_prefix', 'expected a string')
    if (!Number.isInteger(most)) throw this.invalid('model.max_input_chars_per_word', 'expected a number')
    return { kind: 'wordpiece', wordPrefix: '', continuingPrefix: continuing, maxCharacters: most as number, unknown }
  }

  private bpe(model: Json, byteLevel: boolean, addSpacePrefix: boolean): SubwordModel {
    if (model.dropout) throw this.unsupported('model option', 'dropout')
    const byteFallback = model.byte_fallback === true
    const fuseUnknown = model.fuse_unk === true
    if (byteFallback && byteLevel) throw this.unsupported('model option', 'byte_fallback over bytes')
    for (const affix of ['continuing_subword_prefix', 'end_of_word_suffix'])
      if (model[affix]) throw this.unsupported('model option', `${affix} "${String(model[affix])}"`)
    const unknown = model.unk_token ?? null
    if (unknown !== null && typeof unknown !== 'string') throw this.invalid('model.unk_token', 'expected a string')
    if (unknown !== null && fuseUnknown && byteLevel) throw this.unsupported('model option', 'fuse_unk over bytes')
    const ignoreMerges = model.ignore_merges === true
    return { kind: 'bpe', byteLevel, ignoreMerges, addSpacePrefix, unknown, byteFallback, fuseUnknown }
  }

  normalizer(value: unknown): NormalizerStep[] {
    const steps = this.flatten(value, 'normalizer', 'normalizers')
    if (steps.filter(({ type }) => type === 'Precompiled').length > 1) throw this.unsupported('normalizer', 'Precompiled twice')
    return steps.flatMap((step) => {
      const type = String(step.type)
      if (Object.hasOwn(bare, type)) return [bare[type]!]
      switch (type) {
        case 'BertNormalizer':
          return bertNormalizer(step)
        case 'Strip':
          return [{ kind: 'strip', left: step.strip_left === true, right: step.strip_right === true }]
        case 'Prepend':
          return [{ kind: 'prepend', to: this.text(step.prepend, 'normalizer.prepend') }]
        case 'Precompiled':
          // Native code reads it; here only whether it is there.
          this.text(step.precompiled_charsmap, 'normalizer.precompiled_charsmap')
          return [{ kind: 'precompiled', longest: false }]
        case 'Replace':
          return [this.replace(step)]
      }
      throw this.unsupported('normalizer', type)
    })
  }

  private replace(step: Json): NormalizerStep {
    const to = this.text(step.content, 'normalizer.content')
    const { Regex: regex, String: from } = asObject(step.pattern) ?? {}
    if (typeof regex !== 'string') return { kind: 'replace', from: this.text(from, 'normalizer.pattern'), to }
    const [, of, repeated, least] = /^( |\\s)(?:(\+)|\{([0-9]{1,4}),\})$/.exec(regex) ?? []
    if (!of) throw this.unsupported('normalizer', `Replace ${regex}`)
    return { kind: of === ' ' ? 'replaceSpaces' : 'replaceWhitespace', least: repeated ? 1 : Number(least), to }
  }

  preTokenizer(value: unknown): PreTokenizer {
    const result: PreTokenizer = { steps: [], byteLevel: false, addSpacePrefix: false }
    for (const [i, step] of this.flatten(value, 'pre-tokenizer', 'pretokenizers').entries()) {
      switch (step.type) {
        case 'ByteLevel':
          if (result.byteLevel) throw this.unsupported('pre-tokenizer', 'ByteLevel twice')
          // Later it would put a space before each piece.
          if (step.add_prefix_space === true && i > 0)
            throw this.unsupported('pre-tokenizer', 'ByteLevel with add_prefix_space after others')
          result.addSpacePrefix = step.add_prefix_space === true
          result.byteLevel = true
          if (step.use_regex !== false) result.steps.push('gpt2')
          break
        case 'Split':
          result.steps.push(this.split(step, result))
          break
        case 'Digits':
          result.steps.push(this.digits(step.individual_digits === true, result.byteLevel))
          break
        default:
          // What comes after ByteLevel sees the alphabet that spells bytes.
          if (result.byteLevel) throw this.unsupported('pre-tokenizer', `${String(step.type)} after ByteLevel`)
          result.steps.push(...this.wordSteps(step))
      }
    }
    if (result.byteLevel && result.steps.some((step) => typeof step === 'object' && 'kind' in step))
      throw this.unsupported('pre-tokenizer', 'Metaspace with ByteLevel')
    return result
  }

  private wordSteps(step: Json): readonly PreTokenizerStep[] {
    switch (step.type) {
      case 'Punctuation': {
        const behavior = this.behavior(step, 'Isolated')
        if (behavior === 'contiguous') return ['punctuationRuns']
        return [{ pattern: 'punctuation', behavior, invert: false }]
      }
      case 'BertPreTokenizer':
        return bertPreTokenizer
      case 'Whitespace':
        return [{ pattern: 'words', behavior: 'removed', invert: true }]
      case 'WhitespaceSplit':
        return [{ pattern: 'whitespace', behavior: 'removed', invert: false }]
      case 'CharDelimiterSplit':
        return [{ pattern: 'text', text: this.text(step.delimiter, 'pre_tokenizer.delimiter'), behavior: 'removed', invert: false }]
      case 'Metaspace': {
        // Early files say it with add_prefix_space.
        const prepend = step.prepend_scheme ?? (step.add_prefix_space === false ? 'never' : 'always')
        if (prepend !== 'always' && prepend !== 'first' && prepend !== 'never')
          throw this.unsupported('pre-tokenizer', `Metaspace, prepend_scheme ${String(prepend)}`)
        return [{ kind: 'metaspace', mark: this.text(step.replacement, 'pre_tokenizer.replacement'), prepend, split: step.split !== false }]
      }
    }
    throw this.unsupported('pre-tokenizer', String(step.type))
  }

  private behavior(step: Json, otherwise: string): SplitBehavior {
    const name = String(step.behavior ?? otherwise)
    if (!Object.hasOwn(behaviors, name)) throw this.unsupported('pre-tokenizer', `${String(step.type)}, ${name}`)
    return behaviors[name]!
  }

  private digits(individual: boolean, overBytes: boolean): PreTokenizerStep {
    if (!overBytes) return individual ? 'digits' : 'digitRuns'
    if (individual) throw this.unsupported('pre-tokenizer', 'Digits one by one after ByteLevel')
    return 'byteDigitRuns'
  }

  private split(step: Json, { byteLevel: overBytes, steps }: PreTokenizer): PreTokenizerStep {
    const behavior = this.behavior(step, '(none)')
    const invert = step.invert === true
    const { Regex: regex, String: text } = asObject(step.pattern) ?? {}
    if (typeof regex !== 'string') {
      if (overBytes) throw this.unsupported('pre-tokenizer', `Split at "${String(text)}" after ByteLevel`)
      return { pattern: 'text', text: this.text(text, 'pre_tokenizer.pattern'), behavior, invert }
    }
    const found = splitPatternOf(regex)
    // Its matcher knows the end of a text, but none of lines.
    if (!found || (found.name === 'trailingSpace' && !steps.includes('newlines'))) {
      if (overBytes) throw this.unsupported('pre-tokenizer', `Split at ${regex} after ByteLevel`)
      return { pattern: 'regex', regex, behavior, invert }
    }
    if (overBytes && found.name !== 'asciiTriples') throw this.unsupported('pre-tokenizer', `Split at ${regex} after ByteLevel`)
    if ((behavior === 'isolated' && !invert) || (behavior === 'removed' && invert && found.total)) return found.name
    return { pattern: found.name, behavior, invert }
  }

  truncation(value: unknown): Truncation | null {
    const given = this.settings(value, 'truncation')
    if (!given) return null
    const strategy = String(given.strategy ?? 'LongestFirst')
    if (!Object.hasOwn(strategies, strategy)) throw this.unsupported('truncation', strategy)
    return {
      maxLength: this.count(given.max_length, 0, 'truncation.max_length'),
      stride: this.count(given.stride ?? 0, 0, 'truncation.stride'),
      strategy: strategies[strategy]!,
      direction: this.direction(given, 'truncation'),
    }
  }

  padding(value: unknown): Padding | null {
    const given = this.settings(value, 'padding')
    if (!given) return null
    const { strategy = 'BatchLongest' } = given
    const fixed = asObject(strategy)?.Fixed
    if (strategy !== 'BatchLongest' && fixed === undefined) throw this.unsupported('padding', JSON.stringify(strategy))
    return {
      length: fixed === undefined ? 'longest' : this.count(fixed, 0, 'padding.strategy'),
      direction: this.direction(given, 'padding'),
      // Null and 0 say the same: any length.
      multipleOf: this.count(given.pad_to_multiple_of || 1, 1, 'padding.pad_to_multiple_of'),
      id: this.count(given.pad_id ?? 0, 0, 'padding.pad_id'),
      typeId: this.count(given.pad_type_id ?? 0, 0, 'padding.pad_type_id'),
    }
  }

  private settings(value: unknown, field: string): Json | undefined {
    if (value === null || value === undefined) return undefined
    const given = asObject(value)
    if (!given) throw this.invalid(field, 'expected an object')
    return given
  }

  private count(value: unknown, least: number, field: string): number {
    if (!Number.isInteger(value) || (value as number) < least || (value as number) >= 2 ** 31)
      throw this.invalid(field, `expected a number of at least ${least}`)
    return value as number
  }

  private direction(given: Json, field: string): 'left' | 'right' {
    const direction = String(given.direction ?? 'Right').toLowerCase()
    if (direction !== 'left' && direction !== 'right') throw this.unsupported(field, `direction ${String(given.direction)}`)
    return direction
  }

  postProcessor(value: unknown): Around {
    let around: Around = { ...bothTexts, trimOffsets: false, trimKeepsFirst: false }
    for (const step of this.flatten(value, 'post-processor', 'processors')) {
      switch (step.type) {
        case 'ByteLevel':
          around = { ...around, ...trimming(step) }
          break
        case 'TemplateProcessing':
          around = { ...around, single: this.template(step, 'single', ['A']), pair: this.template(step, 'pair', ['A', 'B']) }
          break
        case 'RobertaProcessing':
        case 'BertProcessing': {
          const roberta = step.type === 'RobertaProcessing'
          const type = roberta ? 0 : 1
          const sep = { id: this.pairId(step, 'sep'), type: 0 }
          const single: TemplatePart[] = [{ id: this.pairId(step, 'cls'), type: 0 }, { text: 'A', type: 0 }, sep]
          const pair: TemplatePart[] = [...single, ...(roberta ? [sep] : []), { text: 'B', type }, { ...sep, type }]
          around = { ...around, single, pair, ...(roberta ? trimming(step) : {}) }
          break
        }
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
    const before = token('bos_token', config.add_bos_token !== false)
    const after = token('eos_token', config.add_eos_token === true)
    const of = (text: 'A' | 'B', type: number): TemplatePart[] => [
      ...before.map((id) => ({ id, type })),
      { text, type },
      ...after.map((id) => ({ id, type })),
    ]
    return { single: of('A', 0), pair: [...of('A', 0), ...of('B', 1)] }
  }

  /** Special tokens, and each of `texts`. */
  private template(step: Json, field: string, texts: readonly ('A' | 'B')[]): TemplatePart[] {
    // Early files have no form for pairs.
    const items = step[field] ?? (field === 'pair' ? [...array(step.single), { Sequence: { id: 'B', type_id: 1 } }] : undefined)
    if (!Array.isArray(items)) throw this.invalid(`post_processor.${field}`, 'expected an array')
    const parts = items.flatMap((item: unknown): TemplatePart[] => {
      const special = asObject(asObject(item)?.SpecialToken)
      if (special) return this.specialIds(step, String(special.id)).map((id) => ({ id, type: this.typeId(special, field) }))
      const sequence = asObject(asObject(item)?.Sequence)
      const text = texts.find((name) => name === sequence?.id)
      if (!sequence || !text) throw this.unsupported('post-processor', `template with ${JSON.stringify(item)}`)
      return [{ text, type: this.typeId(sequence, field) }]
    })
    for (const text of texts)
      if (!parts.some((part) => 'text' in part && part.text === text))
        throw this.invalid(`post_processor.${field}`, `the text ${text} is not in it`)
    return parts
  }

  private typeId(item: Json, field: string): number {
    const type = item.type_id ?? 0
    if (!Number.isInteger(type)) throw this.invalid(`post_processor.${field}`, 'expected type_id to be a number')
    return type as number
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

  byteLevelDecoder(value: unknown): DecoderStep[] {
    for (const { type } of this.flatten(value, 'decoder', 'decoders'))
      if (type !== 'ByteLevel') throw this.unsupported('decoder', String(type))
    return ['byteLevel']
  }

  /** Only what can be done token by token, as a text comes. */
  decoder(value: unknown): DecoderStep[] {
    let fused = false
    const found = this.flatten(value, 'decoder', 'decoders')
    if (found.length === 0) throw this.unsupported('decoder', 'none')
    return found.flatMap((step): DecoderStep[] => {
      const type = String(step.type)
      if (fused && type !== 'Fuse' && type !== 'Strip') throw this.unsupported('decoder', `${type} after Fuse`)
      switch (type) {
        case 'Fuse':
          fused = true
          return []
        case 'Replace': {
          const from = asObject(step.pattern)?.String
          if (typeof from !== 'string') throw this.unsupported('decoder', `Replace ${JSON.stringify(step.pattern)}`)
          return [{ kind: 'replace', from, to: this.text(step.content, 'decoder.content') }]
        }
        case 'ByteFallback':
          return ['bytes']
        case 'Strip':
          if (!fused || step.content !== ' ' || step.start !== 1 || step.stop !== 0)
            throw this.unsupported('decoder', `Strip ${JSON.stringify(step)}`)
          return ['stripFirst']
        case 'Metaspace': {
          const stripsFirst = (step.prepend_scheme ?? (step.add_prefix_space === false ? 'never' : 'always')) !== 'never'
          return [{ kind: 'metaspace', from: this.text(step.replacement, 'decoder.replacement'), stripsFirst }]
        }
        case 'WordPiece': {
          const from = this.text(step.prefix, 'decoder.prefix')
          return step.cleanup === false ? [{ kind: 'wordPiece', from }] : [{ kind: 'wordPiece', from }, 'cleanup']
        }
      }
      throw this.unsupported('decoder', type)
    })
  }

  private text(value: unknown, field: string): string {
    if (typeof value !== 'string') throw this.invalid(field, 'expected a string')
    return value
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

const bothTexts: Pick<TokenizerDescription, 'single' | 'pair'> = {
  single: [{ text: 'A', type: 0 }],
  pair: [
    { text: 'A', type: 0 },
    { text: 'B', type: 1 },
  ],
}

function bertNormalizer(step: Json): NormalizerStep[] {
  const lowercase = step.lowercase !== false
  const stripsAccents = step.strip_accents ?? lowercase
  const steps: NormalizerStep[] = []
  if (step.clean_text !== false) steps.push('cleanText')
  if (step.handle_chinese_chars !== false) steps.push('spaceChinese')
  if (stripsAccents === true) steps.push('nfd', 'stripNonspacing')
  if (lowercase) steps.push('lowercase')
  return steps
}

function trimming(step: Json): Pick<Around, 'trimOffsets' | 'trimKeepsFirst'> {
  const trimOffsets = step.trim_offsets !== false
  return { trimOffsets, trimKeepsFirst: trimOffsets && step.add_prefix_space === true }
}

function array(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

function asObject(value: unknown): Json | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : undefined
}
