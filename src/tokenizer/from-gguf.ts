/** Describes the tokenizer of a GGUF file from its tokenizer.ggml.* metadata. */
import { InfernodeError } from '../errors.js'
import type { GgufValue, TokenizerSource } from '../formats/checkpoint.js'
import type { SubwordModel, TokenizerDescription } from './description.js'
import { ggufPreTokenizers, type GgufPreTokenizer } from './patterns.js'

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
  if (kind === 'bert') return describe(metadata, source, { kind: 'wordpiece' }, {}, [], [])
  if (kind === 't5') return describe(metadata, source, { kind: 'unigram' }, {}, [], [])
  throw new InfernodeError('TOKENIZER_UNSUPPORTED', source.path, 'model', kind)
}

function describeBpe(metadata: Metadata, source: GgufSource): TokenizerDescription {
  // Files without the key are from before it existed; how they split text cannot be known.
  const pre = metadata.text('pre') ?? '(none)'
  const row = Object.hasOwn(ggufPreTokenizers, pre) ? ggufPreTokenizers[pre]! : undefined
  if (!row) throw new InfernodeError('TOKENIZER_UNSUPPORTED', source.path, 'pre-tokenizer', pre)
  if (!source.merges) throw metadata.invalid('merges', 'missing')
  const model: SubwordModel = {
    kind: 'bpe',
    byteLevel: true,
    ignoreMerges: row.ignoreMerges ?? false,
    addSpacePrefix: false,
    unknownPiece: null,
  }
  const before = (metadata.flag('add_bos_token') ?? row.addBos ?? false) ? [metadata.requiredId('bos')] : []
  const after = (metadata.flag('add_eos_token') ?? false) ? [metadata.requiredId('eos')] : []
  return describe(metadata, source, model, row, before, after)
}

function describeSpm(metadata: Metadata, source: GgufSource): TokenizerDescription {
  if (metadata.has('precompiled_charsmap'))
    throw new InfernodeError('TOKENIZER_UNSUPPORTED', source.path, 'normalizer', 'precompiled_charsmap')
  if (!source.scores) throw metadata.invalid('scores', 'missing')
  // Files that do not say: the ids that SentencePiece gives by default, as Llama 2 has them.
  const model: SubwordModel = {
    kind: 'spm',
    addSpacePrefix: metadata.flag('add_space_prefix') ?? true,
    unknownId: metadata.id('unknown') ?? 0,
  }
  const before = (metadata.flag('add_bos_token') ?? true) ? [metadata.id('bos') ?? 1] : []
  const after = (metadata.flag('add_eos_token') ?? false) ? [metadata.id('eos') ?? 2] : []
  return describe(metadata, source, model, {}, before, after)
}

function describe(
  metadata: Metadata,
  source: GgufSource,
  model: SubwordModel,
  pre: Partial<GgufPreTokenizer>,
  before: readonly number[],
  after: readonly number[],
): TokenizerDescription {
  const control = source.types ? [] : controlKeys.map((key) => metadata.id(key)).filter((id) => id !== undefined)
  const { tokens, scores, types, merges } = source
  return {
    vocab: { from: 'gguf', file: source.path, tokens, scores, types, merges, control },
    model,
    normalizer: pre.nfc ? ['nfc'] : [],
    preTokenizer: pre.patterns ?? [],
    before,
    after,
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
