/** From tokenizer.json to tokenizer.ggml.*: byte-level BPE ("gpt2") and character BPE with byte fallback ("llama"). */
import { readFileSync } from 'node:fs'
import { InfernodeError } from '../errors.js'
import type { Checkpoint, TokenizerSource } from '../formats/checkpoint.js'
import { quoteForPeople } from '../formats/file.js'
import { ggufArray, ggufValue, type GgufWriterValue } from '../formats/gguf-writer.js'
import type { SubwordModel, TokenizerDescription } from '../tokenizer/description.js'
import { ggufPreTokenizers } from '../tokenizer/patterns.js'
import { describe } from '../tokenizer/tokenizer.js'

type JsonTokenizer = Extract<TokenizerSource, { from: 'tokenizer.json' }>
type Bpe = Extract<SubwordModel, { kind: 'bpe' }>
type Json = Readonly<Record<string, unknown>>

export interface TokenizerMetadata {
  readonly metadata: ReadonlyMap<string, GgufWriterValue>
  readonly remarks: readonly string[]
}

/** GGUF's token types. */
const kinds = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const

/**
 * Entries for a checkpoint whose embeddings have `vocabSize` rows. Runs for seconds where a vocabulary is large, without giving way:
 * for the conversion's own thread. Throws TOKENIZER_UNSUPPORTED for what GGUF has no form for, TOKENIZER_INVALID for a damaged file.
 */
export async function tokenizerMetadata(checkpoint: Checkpoint, vocabSize: number): Promise<TokenizerMetadata> {
  const { tokenizer } = checkpoint
  if (!tokenizer || tokenizer.from !== 'tokenizer.json') {
    // llama.cpp's name for a file without a vocabulary.
    const metadata = new Map([['tokenizer.ggml.model', ggufValue('string', 'none')]])
    return { metadata, remarks: ['there is no tokenizer.json: the file takes token ids only'] }
  }
  const description = await describe(tokenizer)
  if (description.model.kind !== 'bpe')
    throw new InfernodeError('TOKENIZER_UNSUPPORTED', tokenizer.path, 'model, as a GGUF file is to hold it,', description.model.kind)
  return new Writer(checkpoint, tokenizer, description, description.model, vocabSize).write()
}

interface AddedToken {
  readonly id: number
  readonly content: string
  readonly special: boolean
  readonly flags: boolean
}

class Writer {
  private readonly entries = new Map<string, GgufWriterValue>()
  private readonly remarks: string[] = []
  private readonly pieces: string[] = []
  private readonly merges: (readonly [string, string])[]
  private readonly added: readonly AddedToken[]
  private readonly idOf = new Map<string, number>()

  constructor(
    private readonly checkpoint: Checkpoint,
    private readonly source: JsonTokenizer,
    private readonly description: TokenizerDescription,
    private readonly model: Bpe,
    private readonly vocabSize: number,
  ) {
    // Its syntax was checked when it was described.
    const root = JSON.parse(readFileSync(source.path, 'utf8')) as { model: Json; added_tokens?: readonly Json[] }
    for (const [piece, id] of Object.entries(root.model.vocab as Record<string, number>)) this.place(piece, id)
    this.merges = (root.model.merges as (string | [string, string])[]).map((rule) =>
      typeof rule === 'string' ? (rule.split(' ') as [string, string]) : rule,
    )
    this.added = (root.added_tokens ?? []).map((token) => ({
      id: Number(token.id),
      content: String(token.content),
      special: token.special === true,
      flags: ['lstrip', 'rstrip', 'single_word'].some((flag) => token[flag] === true),
    }))
    for (const { id, content } of this.added) this.place(content, id)
  }

  write(): TokenizerMetadata {
    const scores = this.model.byteLevel ? this.writeBytes() : this.writeCharacters()
    const tokens = this.cut()
    this.set('tokens', ggufArray('string', tokens))
    if (scores) this.set('scores', ggufArray('f32', tokens.map((_, id) => scores[id] ?? 0)))
    this.set('token_type', ggufArray('i32', this.tokenTypes(tokens)))
    this.writeRoles()
    const flagged = this.added.filter(({ flags }) => flags)
    if (flagged.length > 0)
      this.remarks.push(`GGUF cannot say that added tokens take white space along or stand alone, such as ${quoteForPeople(flagged[0]!.content)}`)
    return { metadata: this.entries, remarks: this.remarks }
  }

  private set(key: string, value: GgufWriterValue): void {
    this.entries.set(`tokenizer.ggml.${key}`, value)
  }

  private place(piece: string, id: number): void {
    if (!Number.isInteger(id) || id < 0 || id >= 1 << 24)
      throw new InfernodeError('TOKENIZER_INVALID', this.source.path, `id of "${quoteForPeople(piece)}"`, String(id))
    this.pieces[id] = piece
    this.idOf.set(piece, id)
  }

  private unsupported(component: string, name: string): InfernodeError {
    return new InfernodeError('TOKENIZER_UNSUPPORTED', this.source.path, `${component}, as a GGUF file is to hold it,`, name)
  }

  // Bytes

  private writeBytes(): null {
    if (this.model.addSpacePrefix) throw this.unsupported('pre-tokenizer option', 'add_prefix_space')
    this.set('model', ggufValue('string', 'gpt2'))
    this.set('pre', ggufValue('string', this.pre()))
    this.set('merges', ggufArray('string', this.merges.map((rule) => rule.join(' '))))
    return null
  }

  /** The first name for the same normalizer and patterns. */
  private pre(): string {
    const { normalizer, preTokenizer } = this.description
    const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b)
    const rows = Object.entries(ggufPreTokenizers).filter(
      ([, row]) => same(row.patterns, preTokenizer) && same(row.nfc ? ['nfc'] : [], normalizer),
    )
    const exact = rows.find(([, row]) => (row.ignoreMerges ?? false) === this.model.ignoreMerges)
    if (exact) return exact[0]
    // Whether a whole word is looked up before its merges makes no difference where merges build every piece.
    if (rows.length > 0 && this.mergesBuildAll()) return rows[0]![0]
    throw this.unsupported('pre-tokenizer', JSON.stringify({ normalizer, patterns: preTokenizer, ignoreMerges: this.model.ignoreMerges }))
  }

  private mergesBuildAll(): boolean {
    const ranks = new Map(this.merges.map(([left, right], rank) => [`${left} ${right}`, rank]))
    const isAdded = new Set(this.added.map(({ id }) => id))
    return this.pieces.every((piece, id) => isAdded.has(id) || mergedParts(piece, ranks) === 1)
  }

  // Characters

  /** Gives the score of each id. Merges with a lower rank become pieces with a higher score. */
  private writeCharacters(): readonly number[] {
    const { prefix } = this.spaces()
    if (!this.model.byteFallback) throw this.unsupported('model option', 'characters without byte fallback')
    this.set('model', ggufValue('string', 'llama'))
    this.set('pre', ggufValue('string', 'default'))
    this.set('add_space_prefix', ggufValue('bool', prefix))
    const order = new Map<string, number>()
    let grouped = true
    let last = ''
    for (const [left, right] of this.merges) {
      const merged = left + right
      if (!order.has(merged)) order.set(merged, order.size)
      else if (merged !== last) grouped = false
      last = merged
    }
    if (!grouped || !this.mergesAreComplete()) {
      // Scores allow every pair that makes a piece; here rules decide, so infernode gets them, too.
      this.set('character_merges', ggufValue('bool', true))
      this.set('merges', ggufArray('string', this.merges.map((rule) => rule.join(' '))))
      this.remarks.push('merges decide what scores cannot say: infernode reads them, llama.cpp may split some words otherwise')
    }
    // Characters come last, as SentencePiece has it; tokens that are not text get 0.
    return this.pieces.map((piece) => (order.has(piece) ? -order.get(piece)! : [...piece].length === 1 ? -order.size : 0))
  }

  /** That spaces become ▁, with or without one in front, and nothing else happens before merging. */
  private spaces(): { prefix: boolean } {
    const { normalizer, preTokenizer } = this.description
    const shown = JSON.stringify({ normalizer, preTokenizer })
    const replaces = '{"kind":"replace","from":" ","to":"▁"}'
    const prepends = '{"kind":"prepend","to":"▁"}'
    // What Gemma's files say: after the normalizer there are no spaces to split at.
    const splits = '{"pattern":"text","text":" ","behavior":"mergedWithPrevious","invert":false}'
    for (const split of ['', splits]) {
      if (shown === `{"normalizer":[${replaces}],"preTokenizer":[${split}]}`) return { prefix: false }
      if (shown === `{"normalizer":[${prepends},${replaces}],"preTokenizer":[${split}]}`) return { prefix: true }
    }
    const [metaspace] = preTokenizer
    if (normalizer.length === 0 && preTokenizer.length === 1 && typeof metaspace === 'object' && 'kind' in metaspace)
      if (metaspace.mark === '▁' && !metaspace.split) return { prefix: metaspace.prepend !== 'never' }
    throw this.unsupported('normalizer and pre-tokenizer', shown)
  }

  /** Whether each pair of pieces that together are a piece has a rule. */
  private mergesAreComplete(): boolean {
    const rules = new Set(this.merges.map(([left, right]) => `${left} ${right}`))
    const isAdded = new Set(this.added.map(({ id }) => id))
    const inText = (piece: string): boolean => {
      const id = this.idOf.get(piece)
      return id !== undefined && !isAdded.has(id) && !this.isByte(piece)
    }
    return this.pieces.every((piece) => {
      if (!inText(piece)) return true
      for (let at = 1; at < piece.length; at++) {
        const [left, right] = [piece.slice(0, at), piece.slice(at)]
        if (inText(left) && inText(right) && !rules.has(`${left} ${right}`)) return false
      }
      return true
    })
  }

  private isByte(piece: string): boolean {
    return this.model.byteFallback && /^<0x[0-9A-F]{2}>$/.test(piece)
  }

  // Ids

  /** One token for each row of the embeddings. */
  private cut(): string[] {
    const { vocabSize } = this
    if (this.pieces.length > vocabSize)
      this.remarks.push(`${this.pieces.length - vocabSize} tokens beyond the ${vocabSize} that the model knows are left out`)
    return Array.from({ length: vocabSize }, (_, id) => this.pieces[id] ?? `[PAD${id}]`)
  }

  private tokenTypes(tokens: readonly string[]): number[] {
    const unknown = this.model.unknown === null ? undefined : this.id(this.model.unknown)
    const types = tokens.map((piece, id) =>
      this.pieces[id] === undefined ? kinds.unused : this.isByte(piece) ? kinds.byte : kinds.normal,
    ) as number[]
    for (const { id, special } of this.added)
      if (id < types.length) types[id] = special ? kinds.control : kinds.userDefined
    if (unknown !== undefined && unknown < types.length) types[unknown] = kinds.unknown
    return types
  }

  private id(token: number | string): number | undefined {
    return typeof token === 'number' ? token : this.idOf.get(token)
  }

  /** Which ids begin and end texts, and which are put around them. */
  private writeRoles(): void {
    const { single } = this.description
    const at = single.findIndex((part) => 'text' in part)
    const idsOf = (parts: typeof single): number[] => parts.map((part) => ('id' in part ? this.id(part.id) : undefined) ?? -1)
    const [before, after] = [idsOf(single.slice(0, at)), idsOf(single.slice(at + 1))]
    if (before.length > 1 || after.length > 1 || [...before, ...after].includes(-1))
      throw this.unsupported('post-processor', JSON.stringify(single))
    const { json } = this.checkpoint.config as Extract<Checkpoint['config'], { from: 'hf' }>
    const ends = this.checkpoint.generation.eosTokenIds
    const eos = after[0] ?? this.roleOf('eos_token') ?? ends[0]
    const roles: [string, number | undefined][] = [
      ['bos', before[0] ?? this.roleOf('bos_token') ?? idIn(json.bos_token_id)],
      ['eos', eos],
      ['unknown', this.roleOf('unk_token') ?? (this.model.unknown === null ? undefined : this.id(this.model.unknown))],
      ['padding', this.roleOf('pad_token') ?? idIn(json.pad_token_id)],
    ]
    // Two more keys hold what else ends a text; llama.cpp finds further ones by their spelling.
    const others = ends.filter((id) => id !== eos)
    roles.push(['eot', others[0]], ['eom', others[1]])
    if (others.length > 2) this.remarks.push(`GGUF has room for three tokens that end a text; ${others.slice(2).join(', ')} are left out`)
    for (const [role, id] of roles)
      if (id !== undefined && id < this.vocabSize) this.set(`${role}_token_id`, ggufValue('u32', id))
    this.set('add_bos_token', ggufValue('bool', before.length === 1))
    this.set('add_eos_token', ggufValue('bool', after.length === 1))
  }

  /** As tokenizer_config.json names it: text, or an object with the text. */
  private roleOf(name: string): number | undefined {
    const given = this.source.config[name]
    const content = typeof given === 'object' && given !== null ? (given as Json).content : given
    return typeof content === 'string' ? this.idOf.get(content) : undefined
  }
}

const idIn = (value: unknown): number | undefined => (Number.isInteger(value) && (value as number) >= 0 ? (value as number) : undefined)

/** How many pieces merges make of a word. */
function mergedParts(word: string, ranks: ReadonlyMap<string, number>): number {
  const parts = [...word]
  for (;;) {
    let best = -1
    let bestRank = Infinity
    for (let i = 0; i + 1 < parts.length; i++) {
      const rank = ranks.get(`${parts[i]} ${parts[i + 1]}`) ?? Infinity
      if (rank < bestRank) [best, bestRank] = [i, rank]
    }
    if (best < 0) return parts.length
    parts.splice(best, 2, parts[best]! + parts[best + 1]!)
  }
}
