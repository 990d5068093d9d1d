/** The ways in which published tokenizers split text, by the regular expressions and GGUF names that stand for them. */
import type { PreTokenizerStep } from './description.js'

const contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
const upper = '[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]'
const lower = '[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]'
const beforeLetters = '[^\\r\\n\\p{L}\\p{N}]?'
const beforeMarked = '[^\\r\\n\\p{L}\\p{P}\\p{S}]?'
const asciiPunctuation = '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~]'
const spaces = '\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+'

/** The letters that deepseek-llm's expression lists: cased letters of an early Unicode. */
const deepseekLetters =
  'A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝ' +
  'Ὗ-\u1f7dᾀ-ᾴᾶ-ᾼ\u1fbeῂ-ῄῆ-ῌῐ-\u1fd3ῖ-\u1fdbῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212a-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎ' +
  'ꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃'

interface PatternRow {
  /** As written in tokenizer.json. Compared as text: an expression that merely looks alike may split otherwise. */
  readonly regexes: readonly string[]
  /** Every character belongs to a match, so keeping only matches is the same as isolating them. */
  readonly total?: boolean
}

/** Names as in native/tokenizer/pre_tokenizer.cc, where the matchers are. */
export const splitPatterns = {
  gpt2: {
    regexes: ["'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"],
    total: true,
  },
  llama3: {
    regexes: [`${contractions}|${beforeLetters}\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|${spaces}`],
    total: true,
  },
  qwen2: {
    regexes: [
      `${contractions}|${beforeLetters}\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|${spaces}`,
      `${contractions}|${beforeLetters}\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|${spaces}`,
    ],
    total: true,
  },
  gpt4o: {
    regexes: [
      `${beforeLetters}${upper}*${lower}+${contractions}?|${beforeLetters}${upper}+${lower}*${contractions}?|\\p{N}{1,3}|` +
        ` ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|${spaces}`,
    ],
    total: true,
  },
  tekken: {
    regexes: [
      `${beforeLetters}${upper}*${lower}+|${beforeLetters}${upper}+${lower}*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|${spaces}`,
    ],
    total: true,
  },
  digitTriples: { regexes: ['\\p{N}{1,3}'] },
  digits: { regexes: ['\\p{N}'] },
  digitRuns: { regexes: ['\\p{N}+'] },
  /** Digits after ByteLevel: over characters that stand for bytes. */
  byteDigitRuns: { regexes: [] },
  asciiTriples: { regexes: ['[0-9][0-9][0-9]'] },
  newlines: { regexes: ['[\r\n]', '[\\r\\n]'] },
  /** \p{P} and the symbols of ASCII. */
  punctuationRuns: { regexes: ['[\\p{P}\\$\\+<=>\\^~\\|`]+'] },
  cjkKana: { regexes: ['[一-龥\u3040-ゟ゠-ヿ]+'] },
  cjkHangul: { regexes: ['[一-龥ࠀ-一가-\ud7ff]+'] },
  deepseekV3: {
    regexes: [
      `${asciiPunctuation}[A-Za-z]+|${beforeMarked}[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|${spaces}`,
      // The same with a needless backslash, and with line breaks instead of their escapes.
      `${asciiPunctuation.replace('"', '\\"')}[A-Za-z]+|${beforeMarked}[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|${spaces}`,
      `${asciiPunctuation}[A-Za-z]+|${beforeMarked}[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|${spaces}`
        .replaceAll('\\r', '\r')
        .replaceAll('\\n', '\n'),
    ],
  },
  deepseekLetters: { regexes: [`\\s?[${deepseekLetters}]+`] },
  deepseekPunctuation: { regexes: ['\\s?[!-/:-~！-／：-～‘-‟　-。]+'] },
  deepseekCoderLetters: { regexes: ['\\s?\\p{L}+'] },
  deepseekCoderPunctuation: { regexes: ['\\s?\\p{P}+'] },
  trailingSpace: { regexes: ['\\s+$'] },
  /** One by one. */
  whitespace: { regexes: ['\\s'] },
  words: { regexes: ['\\w+|[^\\w\\s]+'] },
  /** \p{P} and the symbols of ASCII, one by one. */
  punctuation: { regexes: [] },
} satisfies Record<string, PatternRow>

export type SplitPattern = keyof typeof splitPatterns

/** The pattern that a regular expression stands for; undefined: an unknown one. */
export function splitPatternOf(regex: string): { name: SplitPattern; total: boolean } | undefined {
  for (const [name, row] of Object.entries(splitPatterns) as [SplitPattern, PatternRow][])
    if (row.regexes.includes(regex)) return { name, total: row.total ?? false }
  return undefined
}

/** BertPreTokenizer: words between white space, and each punctuation sign by itself. */
export const bertPreTokenizer = [
  { pattern: 'whitespace', behavior: 'removed', invert: false },
  'punctuation',
] as const satisfies readonly PreTokenizerStep[]

export interface GgufPreTokenizer {
  readonly patterns: readonly SplitPattern[]
  /** Text is normalized first, as the tokenizer.json that the file was made from does. */
  readonly nfc?: boolean
  readonly ignoreMerges?: boolean
  /** What is added when tokenizer.ggml.add_bos_token says nothing. Default false. */
  readonly addBos?: boolean
}

const llama3: GgufPreTokenizer = { patterns: ['llama3'], ignoreMerges: true, addBos: true }
const gpt2: GgufPreTokenizer = { patterns: ['gpt2'] }
const gpt4o: GgufPreTokenizer = { patterns: ['gpt4o'] }
const digitsThenGpt2: GgufPreTokenizer = { patterns: ['digits', 'gpt2'] }

/** By tokenizer.ggml.pre. */
export const ggufPreTokenizers: Readonly<Record<string, GgufPreTokenizer>> = {
  'gpt-2': gpt2,
  'phi-2': gpt2,
  mpt: { patterns: ['gpt2'], nfc: true },
  olmo: { patterns: ['gpt2'], nfc: true },
  'llama-bpe': llama3,
  llama3,
  'llama-v3': llama3,
  falcon3: llama3,
  pixtral: llama3,
  dbrx: { patterns: ['llama3'] },
  'smaug-bpe': { patterns: ['llama3'] },
  qwen2: { patterns: ['qwen2'], nfc: true },
  'deepseek-r1-qwen': { patterns: ['qwen2'] },
  'gpt-4o': gpt4o,
  llama4: gpt4o,
  tekken: { patterns: ['tekken'], ignoreMerges: true, addBos: true },
  'deepseek-v3': { patterns: ['digitTriples', 'cjkKana', 'deepseekV3'] },
  'deepseek-llm': {
    patterns: ['newlines', 'deepseekLetters', 'deepseekPunctuation', 'trailingSpace', 'cjkHangul', 'digitRuns'],
  },
  'deepseek-coder': {
    patterns: ['newlines', 'deepseekCoderLetters', 'deepseekCoderPunctuation', 'cjkHangul', 'digits'],
  },
  falcon: { patterns: ['punctuationRuns', 'gpt2', 'asciiTriples'] },
  smollm: digitsThenGpt2,
  starcoder: digitsThenGpt2,
  refact: digitsThenGpt2,
  codeshell: digitsThenGpt2,
  'command-r': { patterns: ['digits', 'gpt2'], nfc: true },
}
