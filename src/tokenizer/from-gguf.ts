/** Describes the tokenizer of a GGUF file from its tokenizer.ggml.* metadata. */
import { InfernodeError } from '../errors.js'
import type { GgufArrayRange, GgufValue, TokenizerSource } from '../formats/checkpoint.js'
import type { DecoderStep, NormalizerStep, PreTokenizerStep, SubwordModel, TemplatePart, TokenizerDescription } from './description.js'
import { bertPreTokenizer, ggufPreTokenizers } from './patterns.js'

type GgufSource = Extract<TokenizerSource, { from: 'gguf' }>

/** Keys of ids that are control tokens in every file; they matter where a file has no token types. */
const controlKeys = ['bos', 'eos', 'unknown', 'seperator', 'separator', 'padding', 'cls', 'mask', 'eot', 'eom']

/**
 * Throws TOKENIZER_UNSUPPORTED for a kind of model or pre-tokenizer that is not known, TOKENIZER_INVALID for metadata of a wrong
 * type.
 */
export function describeGguf(source: GgufSource): TokenizerDescription {
  const metadata = new Metadata(source)
  const kind = metadata.text('model')
  if (kind === undefined) throw metadata.invalid('model', 'missing')
  if (kind === 'gpt2') return describeBpe(metadata, source)
  if (kind === 'llama') return describeSpm(metadata, source)
  if (kind === 'bert') return describeWordPiece(metadata, source)
  if (kind === 't5') return describeUnigram(metadata, source)
  throw new InfernodeError('TOKENIZER_UNSUPPORTED', source.path, 'model', kind)
}

function describeBpe(metadata: Metadata, source: GgufSource): TokenizerDescription {
  // Files without the key are from before it existed; how they split text cannot be known.
  const pre = metadata.text('pre') ?? '(none)'
  const row = Object.hasOwn(ggufPreTokenizers, pre) ? ggufPreTokenizers[pre]! : undefined
  if (!row) throw new InfernodeError('TOKENIZER_UNSUPPORTED', source.path, 'pre-tokenizer', pre, Object.keys(ggufPreTokenizers).join(', '))
  if (!source.merges) throw metadata.invalid('merges', 'missing')
  const model: SubwordModel = {
    kind: 'bpe',
    byteLevel: true,
    ignoreMerges: row.ignoreMerges ?? false,
    addSpacePrefix: false,
    unknown: null,
    byteFallback: false,
    fuseUnknown: false,
  }
  const before = (metadata.flag('add_bos_token') ?? row.addBos ?? false) ? [metadata.requiredId('bos')] : []
  const after = (metadata.flag('add_eos_token') ?? false) ? [metadata.requiredId('eos')] : []
  const normalizer: NormalizerStep[] = row.nfc ? ['nfc'] : []
  const decoder: DecoderStep[] = ['byteLevel']
  const preTokenizer = row.patterns.map((pattern) =>
    typeof pattern === 'string' ? pattern : ({ pattern: 'regex', ...pattern, behavior: 'isolated', invert: false } as const),
  )
  return describe(metadata, source, { model, normalizer, preTokenizer, decoder, ...around(before, after) })
}

function describeSpm(metadata: Metadata, source: GgufSource): TokenizerDescription {
  if (metadata.has('precompiled_charsmap'))
    throw new InfernodeError('TOKENIZER_UNSUPPORTED', source.path, 'normalizer', 'precompiled_charsmap')
  if (!source.scores) throw metadata.invalid('scores', 'missing')
  // Files that do not say: the ids that SentencePiece gives by default, as Llama 2 has them.
  const addSpacePrefix = metadata.flag('add_space_prefix') ?? true
  const before = (metadata.flag('add_bos_token') ?? true) ? [metadata.id('bos') ?? 1] : []
  const after = (metadata.flag('add_eos_token') ?? false) ? [metadata.id('eos') ?? 2] : []
  if (metadata.flag('character_merges') ?? false) return describeCharacterBpe(metadata, source, addSpacePrefix, around(before, after))
  return describe(metadata, source, {
    model: { kind: 'spm', addSpacePrefix, unknown: metadata.id('unknown') ?? 0 },
    decoder: ['typedBytes', { ...marksAreSpaces, exceptControl: true }, ...(addSpacePrefix ? (['stripFirst'] as const) : [])],
    ...around(before, after),
  })
}

/** A key of our own: the merges of a tokenizer.json, where scores would not say the same (src/convert/tokenizer.ts). */
function describeCharacterBpe(
  metadata: Metadata,
  source: GgufSource,
  addSpacePrefix: boolean,
  parts: Pick<TokenizerDescription, 'single' | 'pair'>,
): TokenizerDescription {
  if (!source.merges) throw metadata.invalid('merges', 'missing')
  return describe(metadata, source, {
    model: {
      kind: 'bpe',
      byteLevel: false,
      ignoreMerges: false,
      addSpacePrefix: false,
      unknown: metadata.id('unknown') ?? 0,
      byteFallback: true,
      fuseUnknown: true,
    },
    normalizer: [...(addSpacePrefix ? [{ kind: 'prepend', to: '▁' } as const] : []), marksForSpaces],
    decoder: [marksAreSpaces, 'typedBytes', ...(addSpacePrefix ? (['stripFirst'] as const) : [])],
    ...parts,
  })
}

/**
 * Such a file does not say how it normalizes. It is taken for uncased, as llama.cpp does: the vocabularies of cased ones would
 * need a key that does not exist.
 */
function describeWordPiece(metadata: Metadata, source: GgufSource): TokenizerDescription {
  // Files that do not say: BERT's own ids.
  const cls = metadata.id('cls') ?? metadata.id('bos') ?? 101
  const sep = metadata.id('seperator') ?? metadata.id('separator') ?? metadata.id('eos') ?? 102
  const first = (metadata.flag('add_bos_token') ?? true) ? [{ id: cls, type: 0 }] : []
  const separates = metadata.flag('add_sep_token') ?? metadata.flag('add_eos_token') ?? true
  const end = (type: number): TemplatePart[] => (separates ? [{ id: sep, type }] : [])
  const single: TemplatePart[] = [...first, { text: 'A', type: 0 }, ...end(0)]
  return describe(metadata, source, {
    normalizer: ['cleanText', 'spaceChinese', 'nfd', 'stripNonspacing', 'lowercase'],
    preTokenizer: bertPreTokenizer,
    // "##ing" is stored as "ing", "the" as "▁the".
    model: { kind: 'wordpiece', wordPrefix: '▁', continuingPrefix: '', maxCharacters: 100, unknown: metadata.id('unknown') ?? 100 },
    single,
    pair: [...single, { text: 'B', type: 1 }, ...end(1)],
    decoder: [marksAreSpaces, 'stripFirst', 'cleanup'],
  })
}

function describeUnigram(metadata: Metadata, source: GgufSource): TokenizerDescription {
  if (!source.scores) throw metadata.invalid('scores', 'missing')
  const escapes = metadata.flag('escape_whitespaces') ?? true
  const charsmap = metadata.range('precompiled_charsmap')
  const prefix = metadata.flag('add_space_prefix') ?? false
  const merge = metadata.flag('remove_extra_whitespaces') ?? false
  const suffix = metadata.flag('treat_whitespace_as_suffix') ?? false
  const before = (metadata.flag('add_bos_token') ?? false) ? [metadata.requiredId('bos')] : []
  const after = (metadata.flag('add_eos_token') ?? true) ? [metadata.id('eos') ?? 1] : []
  const stripsFirst = (prefix && !suffix) || merge
  return describe(metadata, source, {
    charsmap,
    normalizer: [
      ...(charsmap ? [{ kind: 'precompiled', longest: true } as const] : []),
      { kind: 'markSpaces', to: escapes ? '▁' : ' ', prefix: prefix && !suffix, suffix: prefix && suffix, merge },
    ],
    model: { kind: 'unigram', unknown: metadata.id('unknown') ?? 2, byteFallback: false, onlyText: true },
    decoder: ['typedBytes', marksAreSpaces, ...(stripsFirst ? (['stripFirst'] as const) : [])],
    ...around(before, after),
  })
}

const marksForSpaces = { kind: 'replace', from: ' ', to: '▁' } as const
const marksAreSpaces = { kind: 'replace', from: '▁', to: ' ' } as const

/** Ids in front of each text and behind it. */
function around(before: readonly number[], after: readonly number[]): Pick<TokenizerDescription, 'single' | 'pair'> {
  const of = (text: 'A' | 'B', type: number): TemplatePart[] => [
    ...before.map((id) => ({ id, type })),
    { text, type },
    ...after.map((id) => ({ id, type })),
  ]
  return { single: of('A', 0), pair: [...of('A', 0), ...of('B', 1)] }
}

interface Parts extends Pick<TokenizerDescription, 'model' | 'single' | 'pair' | 'decoder'> {
  readonly normalizer?: readonly NormalizerStep[]
  readonly preTokenizer?: readonly PreTokenizerStep[]
  readonly charsmap?: GgufArrayRange | null
}

function describe(metadata: Metadata, source: GgufSource, parts: Parts): TokenizerDescription {
  const { model, single, pair, decoder, normalizer = [], preTokenizer = [], charsmap = null } = parts
  const control = source.types ? [] : controlKeys.map((key) => metadata.id(key)).filter((id) => id !== undefined)
  const { tokens, scores, types, merges } = source
  return {
    vocab: { from: 'gguf', file: source.path, tokens, scores, types, merges, charsmap, control },
    normalizer,
    preTokenizer,
    model,
    single,
    pair,
    decoder,
    trimOffsets: false,
    trimKeepsFirst: false,
  }
}

/** Reads tokenizer.ggml.<key> with the type that it must have. */
class Metadata {
  constructor(private readonly source: GgufSource) {}

  has(key: string): boolean {
    return this.source.metadata.has(`tokenizer.ggml.${key}`)
  }

  text(key: string): string | undefined {
    return this.get(key, 'a string', (value) => (typeof value === 'string' ? value : undefined))
  }

  /** Bytes that stay in the file; null where there are none. */
  range(key: string): GgufArrayRange | null {
    const value = this.source.metadata.get(`tokenizer.ggml.${key}`)
    if (value === undefined || (Array.isArray(value) && value.length === 0)) return null
    if (typeof value !== 'object' || !('offset' in value)) throw this.invalid(key, 'too short for a table')
    return value.bytes === value.count ? value : this.fail(key, 'expected bytes')
  }

  private fail(key: string, reason: string): never {
    throw this.invalid(key, reason)
  }

  flag(key: string): boolean | undefined {
    return this.get(key, 'a boolean', (value) => (typeof value === 'boolean' ? value : undefined))
  }

  /** `<key>_token_id`, checked against the vocabulary. */
  id(key: string): number | undefined {
    const limit = this.source.tokens.count
    return this.get(`${key}_token_id`, `an id below ${limit}`, (value) => {
      const id = typeof value === 'bigint' ? Number(value) : value
      // Some writers store "none" as the largest unsigned number.
      return typeof id === 'number' && Number.isInteger(id) && id >= 0 && id < limit ? id : undefined
    })
  }

  requiredId(key: string): number {
    const id = this.id(key)
    if (id === undefined) throw this.invalid(`${key}_token_id`, `missing, but add_${key}_token wants it`)
    return id
  }

  invalid(key: string, reason: string): InfernodeError {
    return new InfernodeError('TOKENIZER_INVALID', this.source.path, `tokenizer.ggml.${key}`, reason)
  }

  private get<T>(key: string, expected: string, read: (value: GgufValue) => T | undefined): T | undefined {
    const value = this.source.metadata.get(`tokenizer.ggml.${key}`)
    if (value === undefined || value === 4294967295 || value === -1) return undefined
    const result = read(value)
    if (result === undefined) throw this.invalid(key, `expected ${expected}`)
    return result
  }
}
