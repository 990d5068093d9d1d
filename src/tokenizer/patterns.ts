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
  /** The pre-tokenizer Whitespace: \w+|[^\w\s]+, but a Split at this text knows other word characters. */
  words: { regexes: [] },
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
  /** Names of patterns, and expressions without a matcher of their own. */
  readonly patterns: readonly (SplitPattern | { readonly regex: string })[]
  /** Text is normalized first, as the tokenizer.json that the file was made from does. */
  readonly nfc?: boolean
  readonly ignoreMerges?: boolean
  /** What is added when tokenizer.ggml.add_bos_token says nothing. Default false. */
  readonly addBos?: boolean
}

const llama3: GgufPreTokenizer = { patterns: ['llama3'], ignoreMerges: true, addBos: true }
const plainLlama3: GgufPreTokenizer = { patterns: ['llama3'] }
const gpt2: GgufPreTokenizer = { patterns: ['gpt2'] }
const gpt4o: GgufPreTokenizer = { patterns: ['gpt4o'] }
const qwen2: GgufPreTokenizer = { patterns: ['qwen2'] }
const digitsThenGpt2: GgufPreTokenizer = { patterns: ['digits', 'gpt2'] }
const deepseekV3: GgufPreTokenizer = { patterns: ['digitTriples', 'cjkKana', 'deepseekV3'] }

const regex = (text: string): { readonly regex: string } => ({ regex: text })
const cjk = '[一-龥\u3040-ゟ゠-ヿ]+'
const apart = (...first: string[]): GgufPreTokenizer => ({ patterns: first.map(regex) })
const bloom = ' ?[^(\\s|.,!?…。，、।۔،)]+'
const others = ' ?[^\\s\\p{L}\\p{N}]+'
const notHan = '&&[^\\p{Han}]'
const bailing = apart(`'(?i:[sdmt]|ll|ve|re)|${beforeLetters.slice(0, -1)}?+\\p{L}+|\\p{N}|${others}+[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+`)
const asianScripts =
  '[一-鿿㐀-\u4dbf豈-\ufaff\u3040-ゟ゠-ヿ･-\uff9f⼀-\u2fdfเ-\u0e7f\u0e80-\u0effក-\u17ffက-႟ꩠ-ꩿꧠ-\ua9ff가-\ud7afᄀ-ᇿ]+'

/** Digits in triples from the right: at the start what is left over. */
const tripleFromRight = (digit: string): string => `${digit}{1,3}(?=(?:${digit}{3})*(?!${digit}))`

/**
 * By tokenizer.ggml.pre: the names that llama.cpp knows, but for those that mean no BPE of bytes (gemma4,
 * granite-embed-multi-311m, sarvam-moe, whitespace).
 */
export const ggufPreTokenizers: Readonly<Record<string, GgufPreTokenizer>> = {
  default: {
    patterns: [regex('[\\p{P}\\$\\+<=>\\^~\\|]+'), 'gpt2', 'digitRuns', 'asciiTriples'],
  },
  'gpt-2': gpt2,
  'phi-2': gpt2,
  'jina-es': gpt2,
  'jina-de': gpt2,
  'jina-v2-es': gpt2,
  'jina-v2-de': gpt2,
  'jina-v1-en': gpt2,
  'jina-v2-code': gpt2,
  'roberta-bpe': gpt2,
  gigachat: gpt2,
  'a.x-4.0': gpt2,
  mellum: gpt2,
  'modern-bert': gpt2,
  exaone4: gpt2,
  jais: gpt2,
  trillion: gpt2,
  'granite-docling': gpt2,
  mpt: { patterns: ['gpt2'], nfc: true },
  olmo: { patterns: ['gpt2'], nfc: true },
  'llama-bpe': llama3,
  llama3,
  'llama-v3': llama3,
  falcon3: llama3,
  'falcon-h1': llama3,
  pixtral: llama3,
  'midm-2.0': llama3,
  lfm2: llama3,
  'jina-v5-nano': llama3,
  dbrx: plainLlama3,
  'smaug-bpe': plainLlama3,
  glm4: plainLlama3,
  'chatglm-bpe': plainLlama3,
  // Its second expression takes any run of digits, but the first has left none longer than three.
  minicpm5: { patterns: ['digitTriples', 'llama3'], ignoreMerges: true },
  qwen2: { patterns: ['qwen2'], nfc: true },
  'deepseek-r1-qwen': qwen2,
  kormo: qwen2,
  f2llmv2: qwen2,
  megrez: qwen2,
  stablelm2: qwen2,
  hunyuan: qwen2,
  'solar-open': qwen2,
  'grok-2': qwen2,
  laguna: { patterns: [regex('[^\\n]+|[\\n]+'), 'qwen2'] },
  qwen35: apart(
    `${contractions}|${beforeLetters}[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|${spaces}`,
  ),
  ufakzeka: apart(`${beforeLetters}\\p{L}+|\\p{N}|${others}[\\r\\n]*|${spaces}`),
  'seed-coder': apart(`${contractions}|${beforeLetters}\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|${spaces}`),
  bailingmoe: bailing,
  bailingmoe2: bailing,
  'llada-moe': bailing,
  'exaone-moe': apart(
    `${contractions}|${beforeLetters}(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}|${others}[\\r\\n/]?|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+`,
  ),
  'jais-2': apart(
    `${contractions}|${beforeLetters}\\p{L}+|\\p{N}{1,3}|${others}[\\r\\n]*|\\s*[\\r\\n]+|` +
      [512, 256, 128, 64, 32, 16, 8, 4].map((n) => `\\s{${n}}(?!\\S)|`).join('') +
      '\\s{1,2}(?!\\S)|\\s{1}',
  ),
  'gpt-4o': gpt4o,
  llama4: gpt4o,
  kanana2: gpt4o,
  talkie: gpt4o,
  'minimax-m2': gpt4o,
  'granite-embed-multi-97m': { ...gpt4o, ignoreMerges: true },
  tiny_aya: { patterns: [regex('\\d{1,3}(?=(?:\\d{3})*\\b)'), 'gpt4o'] },
  cohere2moe: { patterns: [regex('\\d{1,3}(?=(?:\\d{3})*\\b)'), 'gpt4o'] },
  'kimi-k2': apart(
    `[\\p{Han}]+|${beforeLetters}${within(upper, notHan)}*${within(lower, notHan)}+${contractions}?|` +
      `${beforeLetters}${within(upper, notHan)}+${within(lower, notHan)}*${contractions}?|\\p{N}{1,3}|${others}[\\r\\n]*|${spaces}`,
  ),
  youtu: {
    patterns: [
      regex(`[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|${cjk}`),
      regex(
        `${beforeLetters}${upper}*${lower}+${contractions}?|${beforeLetters}${upper}+${lower}*${contractions}?|\\p{N}|` +
          `${others}[\\r\\n/]*|${spaces}`,
      ),
    ],
    ignoreMerges: true,
  },
  tekken: { patterns: ['tekken'], ignoreMerges: true, addBos: true },
  'deepseek-v3': deepseekV3,
  'hunyuan-dense': deepseekV3,
  'joyai-llm': deepseekV3,
  hy_v4: deepseekV3,
  spark2_5: {
    patterns: [
      'digitTriples',
      'cjkKana',
      regex(`${asciiPunctuation}[A-Za-z]+|${beforeMarked}[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+|[\\r\\n]|\\s+(?!\\S)|\\s+`),
      'digits',
    ],
  },
  afmoe: { patterns: [regex(tripleFromRight('\\p{N}')), regex(asianScripts), 'deepseekV3'] },
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
  exaone: digitsThenGpt2,
  'minerva-7b': digitsThenGpt2,
  mellum2: digitsThenGpt2,
  'command-r': { patterns: ['digits', 'gpt2'], nfc: true },
  bloom: apart(bloom),
  'poro-chat': apart(bloom),
  'gpt3-finnish': apart(bloom),
  viking: { patterns: [regex(bloom), 'digits'] },
  superbpe: { patterns: ['digitRuns', regex('(?=(\\d{3})+(?!\\d))')] },
  chameleon: {
    patterns: [
      regex('<sentinel:[0-9]+>'),
      regex('(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z'),
      regex('([\\t\\n]|    |  )'),
      'digits',
      regex('[\\p{P}!-/:-@\\[-`{-~]'),
      'gpt2',
    ],
    addBos: true,
  },
}

/** A class with something more in its brackets. */
function within(characters: string, more: string): string {
  return `${characters.slice(0, -1)}${more}]`
}
