/** What native/tokenizer/tokenizer.cc makes a tokenizer from: small, plain data; the vocabulary stays in its file. */
import type { GgufArrayRange } from '../formats/checkpoint.js'
import type { SplitPattern } from './patterns.js'

export interface TokenizerDescription {
  readonly vocab: VocabularyLocation
  readonly model: SubwordModel
  /** In this order. More kinds will join as models need them. */
  readonly normalizer: readonly 'nfc'[]
  /** Each pattern splits what the one before it left. Empty: the text is one word. */
  readonly preTokenizer: readonly SplitPattern[]
  /** Ids, or pieces, around a text, if `addSpecial` is asked for. */
  readonly before: readonly (number | string)[]
  readonly after: readonly (number | string)[]
  /** Offsets leave out the spaces at both ends of a token. */
  readonly trimOffsets: boolean
  /** … but at the start of the text keep one, which the tokenizer added itself. */
  readonly trimKeepsFirst: boolean
}

export type VocabularyLocation =
  | {
      readonly from: 'gguf'
      readonly file: string
      readonly tokens: GgufArrayRange
      readonly scores: GgufArrayRange | null
      readonly types: GgufArrayRange | null
      readonly merges: GgufArrayRange | null
      /** Ids that are control tokens, where `types` does not say it. */
      readonly control: readonly number[]
    }
  | { readonly from: 'tokenizer.json'; readonly file: string }

export type SubwordModel =
  /** Ranked merges. Native code refuses `byteLevel: false` (characters with bytes as fallback) until it is built. */
  | {
      readonly kind: 'bpe'
      readonly byteLevel: boolean
      /** A word that is in the vocabulary is not taken apart. */
      readonly ignoreMerges: boolean
      /** A space is put before a text, and after each added token, that does not begin with one. */
      readonly addSpacePrefix: boolean
      /** The piece for bytes without one; null: they are left out. */
      readonly unknownPiece: string | null
    }
  /** SentencePiece as GGUF has it: pieces with scores, bytes as fallback. */
  | { readonly kind: 'spm'; readonly addSpacePrefix: boolean; readonly unknownId: number | null }
  /** Known by name, refused by native code until they are built. */
  | { readonly kind: 'wordpiece' | 'unigram' }
