/** What native/tokenizer/tokenizer.cc makes a tokenizer from: small, plain data; the vocabulary stays in its file. */
import type { GgufArrayRange } from '../formats/checkpoint.js'
import type { SplitPattern } from './patterns.js'
import type { RegexProgram } from './regex.js'

/** In the order in which data visits them: normalizer, preTokenizer, model, single or pair; decoder on the way back. */
export interface TokenizerDescription {
  readonly vocab: VocabularyLocation
  /** Each rewrites what the one before it left. */
  readonly normalizer: readonly NormalizerStep[]
  /** Each splits the pieces that the one before it left. Empty: the text is one word. */
  readonly preTokenizer: readonly PreTokenizerStep[]
  readonly model: SubwordModel
  /** What a text, or a pair of texts, becomes; ids and pieces in it are left out without `addSpecial`. */
  readonly single: readonly TemplatePart[]
  readonly pair: readonly TemplatePart[]
  /** From a piece to what it stands for. Each token by itself, so that text can be given out token by token. */
  readonly decoder: readonly DecoderStep[]
  /** Offsets leave out the spaces at both ends of a token. */
  readonly trimOffsets: boolean
  /** … but at the start of the text keep one, which the tokenizer added itself. */
  readonly trimKeepsFirst: boolean
}

/** What a tokenizer.json says about the length of what it gives; applied only where a caller asks for it. */
export interface LengthRules {
  readonly truncation: Truncation | null
  readonly padding: Padding | null
}

/** Which of two texts gives way: the longer one, always the first, always the second. */
export type TruncationStrategy = 'longest_first' | 'only_first' | 'only_second'

export interface Truncation {
  readonly maxLength: number
  /** How many ids of a part the next part begins with. */
  readonly stride: number
  readonly strategy: TruncationStrategy
  /** Where ids go away. */
  readonly direction: 'left' | 'right'
}

export interface Padding {
  /** To the longest of a batch, or to so many ids. */
  readonly length: 'longest' | number
  readonly direction: 'left' | 'right'
  /** 1: any length. */
  readonly multipleOf: number
  readonly id: number
  readonly typeId: number
}

export type VocabularyLocation =
  | {
      readonly from: 'gguf'
      readonly file: string
      readonly tokens: GgufArrayRange
      readonly scores: GgufArrayRange | null
      readonly types: GgufArrayRange | null
      readonly merges: GgufArrayRange | null
      /** SentencePiece's normalization table, for the step 'precompiled'. In a tokenizer.json it is found in the normalizer. */
      readonly charsmap: GgufArrayRange | null
      /** Ids that are control tokens, where `types` does not say it. */
      readonly control: readonly number[]
    }
  | { readonly from: 'tokenizer.json'; readonly file: string }

export type NormalizerStep =
  | 'nfc'
  | 'nfd'
  | 'nfkc'
  | 'nfkd'
  | 'lowercase'
  /** Takes combining marks away: all, or those without a width of their own. */
  | 'stripMarks'
  | 'stripNonspacing'
  /** BERT: no control characters, white space is a space. */
  | 'cleanText'
  /** BERT: spaces around each Chinese character. */
  | 'spaceChinese'
  | { readonly kind: 'strip'; readonly left: boolean; readonly right: boolean }
  | { readonly kind: 'replace'; readonly from: string; readonly to: string }
  /** Each run of at least `least` spaces, or characters of white space. */
  | { readonly kind: 'replaceSpaces' | 'replaceWhitespace'; readonly least: number; readonly to: string }
  | { readonly kind: 'prepend'; readonly to: string }
  /** SentencePiece's table, by its own rule (`longest`) or as the Rust library applies it. */
  | { readonly kind: 'precompiled'; readonly longest: boolean }
  /** SentencePiece's spaces: `to` before the text (`prefix`) or after it (`suffix`), one for each run of spaces (`merge`). */
  | { readonly kind: 'markSpaces'; readonly to: string; readonly prefix: boolean; readonly suffix: boolean; readonly merge: boolean }

export type SplitBehavior = 'isolated' | 'removed' | 'mergedWithPrevious' | 'mergedWithNext' | 'contiguous'

export type PreTokenizerStep =
  /** Matches and what lies between them become pieces. */
  | SplitPattern
  | { readonly pattern: SplitPattern; readonly behavior: SplitBehavior; readonly invert: boolean }
  /** An expression without a matcher of its own; `program` is what native code runs of it. */
  | RegexStep
  | { readonly pattern: 'text'; readonly text: string; readonly behavior: SplitBehavior; readonly invert: boolean }
  /** `mark` instead of spaces, and before pieces that begin with none; `first`: only where the text starts. */
  | { readonly kind: 'metaspace'; readonly mark: string; readonly prepend: 'always' | 'first' | 'never'; readonly split: boolean }

export interface RegexStep {
  readonly pattern: 'regex'
  readonly regex: string
  readonly behavior: SplitBehavior
  readonly invert: boolean
  /** Filled in last, since working it out takes turns of the event loop. */
  readonly program?: RegexProgram
}

/** An id or a piece. */
export type Token = number | string

export type SubwordModel =
  /** Ranked merges, of bytes or of characters. */
  | {
      readonly kind: 'bpe'
      readonly byteLevel: boolean
      /** A word that is in the vocabulary is not taken apart. */
      readonly ignoreMerges: boolean
      /** Bytes: a space is put before a text, and after each added token, that does not begin with one. */
      readonly addSpacePrefix: boolean
      /** For what has no piece; null: it is left out. */
      readonly unknown: Token | null
      /** Characters: those without a piece become <0x..> pieces, and neighbours that are unknown one token. */
      readonly byteFallback: boolean
      readonly fuseUnknown: boolean
    }
  /** SentencePiece's BPE as GGUF has it: pieces with scores, bytes as fallback. */
  | { readonly kind: 'spm'; readonly addSpacePrefix: boolean; readonly unknown: Token | null }
  /** The longest piece first. Words of more than `maxCharacters` are unknown. */
  | {
      readonly kind: 'wordpiece'
      readonly wordPrefix: string
      readonly continuingPrefix: string
      readonly maxCharacters: number
      readonly unknown: Token
    }
  /** The division with the best sum of scores. `onlyText`: control tokens are not found in a text. */
  | { readonly kind: 'unigram'; readonly unknown: Token | null; readonly byteFallback: boolean; readonly onlyText: boolean }

export type TemplatePart =
  | { readonly text: 'A' | 'B'; readonly type: number }
  | { readonly id: Token; readonly type: number }

export type DecoderStep =
  | 'byteLevel'
  | { readonly kind: 'replace'; readonly from: string; readonly to: string; readonly exceptControl?: boolean }
  /** <0x0A> becomes a byte: every piece of that spelling, or those that the file calls bytes. */
  | 'bytes'
  | 'typedBytes'
  /** A mark becomes a space, in the first token of a text nothing. */
  | { readonly kind: 'metaspace'; readonly from: string; readonly stripsFirst: boolean }
  /** A space before each token, but for the first, and for those that begin with `from`, which goes away. */
  | { readonly kind: 'wordPiece'; readonly from: string }
  /** No spaces before punctuation and English contractions. */
  | 'cleanup'
  /** The first token of a text loses one space at its front. */
  | 'stripFirst'
