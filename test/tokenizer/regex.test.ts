/** Expressions without a matcher of their own: translated by src/tokenizer/regex.ts, run by native/tokenizer/regex.cc. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it, vi } from 'vitest'
import { ggufPreTokenizers, splitPatterns } from '../../src/tokenizer/patterns.js'
import { compileRegex, RegexUnsupported } from '../../src/tokenizer/regex.js'
import { describe as describeTokenizer, expressions, Tokenizer } from '../../src/tokenizer/tokenizer.js'

const fixtures = join(import.meta.dirname, '../fixtures/tokenizers')
const folder = mkdtempSync(join(tmpdir(), 'infernode-regex-'))
afterAll(() => rmSync(folder, { recursive: true }))
let files = 0

/** A tokenizer for which every word is one unknown token, so that offsets are the words. */
function source(...pretokenizers: unknown[]) {
  const path = join(folder, `${files++}.json`)
  const model = { type: 'WordPiece', unk_token: '[UNK]', continuing_subword_prefix: '##', max_input_chars_per_word: 1, vocab: { '[UNK]': 0 } }
  writeFileSync(
    path,
    JSON.stringify({
      added_tokens: [],
      normalizer: null,
      pre_tokenizer: { type: 'Sequence', pretokenizers },
      post_processor: null,
      decoder: { type: 'WordPiece', prefix: '##', cleanup: false },
      model,
    }),
  )
  return { from: 'tokenizer.json', path, config: {} } as const
}

const splitAt = (regex: string, behavior = 'Isolated', invert = false) => ({ type: 'Split', pattern: { Regex: regex }, behavior, invert })

async function words(tokenizer: Tokenizer, text: string): Promise<string[]> {
  const { offsets } = await tokenizer.encode(text, { offsets: true, addSpecial: false })
  return Array.from({ length: offsets.length / 2 }, (_, i) => text.slice(offsets[2 * i], offsets[2 * i + 1]))
}

interface Row {
  regex: string
  cases: [text: string, behavior: string, invert: boolean, pieces: string[]][]
}
const rows: Row[] = JSON.parse(readFileSync(join(fixtures, 'regexes.json'), 'utf8'))
const splits: Record<string, string[][]> = JSON.parse(readFileSync(join(fixtures, 'splits.json'), 'utf8'))
const camel = (name: string) => name.replaceAll(/(^|_)(.)/g, (_, __, letter: string) => letter.toUpperCase())

describe('an expression without a matcher of its own', () => {
  for (const { regex, cases } of rows)
    it(`splits as the Rust library does: ${regex}`, async () => {
      const tokenizers = new Map<string, Tokenizer>()
      for (const [text, behavior, invert, pieces] of cases) {
        const key = `${behavior} ${invert}`
        if (!tokenizers.has(key)) tokenizers.set(key, await Tokenizer.load(source(splitAt(regex, camel(behavior), invert))))
        expect(await words(tokenizers.get(key)!, text), JSON.stringify([text, behavior, invert])).toEqual(pieces)
      }
    })

  for (const [name, { regexes }] of Object.entries(splitPatterns))
    // The matcher of trailing space is used behind one that leaves no line breaks.
    if (regexes.length > 0 && splits[name] && name !== 'trailingSpace')
      it(`gives what the matcher gives: ${name}`, async () => {
        // Braces that mean nothing make it another text than the table's.
        const given = source(splitAt(`(?:${regexes[0]})`))
        expect(expressions(await describeTokenizer(given))).toHaveLength(1)
        const tokenizer = await Tokenizer.load(given)
        for (const pieces of splits[name]!) expect(await words(tokenizer, pieces.join('')), name).toEqual(pieces)
      })

  it('works on the pieces that other steps left, and leaves pieces for others', async () => {
    const tokenizer = await Tokenizer.load(source({ type: 'WhitespaceSplit' }, splitAt('^..'), { type: 'Digits', individual_digits: true }))
    expect(await words(tokenizer, 'abc12 x3yz')).toEqual(['ab', 'c', '1', '2', 'x', '3', 'yz'])
  })

  it('takes time in proportion to the text, or gives an error', async () => {
    const million = 1 << 20
    const fine = await Tokenizer.load(source(splitAt('(?:\\p{L}|\\s)+?\\d|\\s+(?!\\S)|\\w+$')))
    await fine.encode(`${'a '.repeat(million / 8)}1`)
    for (const regex of ['(?:a|a)*b', '(?:a+)+b', '(?=.*b.*c).', '(?:a|aa|aaa){0,50}b']) {
      const tokenizer = await Tokenizer.load(source(splitAt(regex)))
      expect(await words(tokenizer, 'aab')).not.toEqual([])
      await expect(tokenizer.encode('a'.repeat(million)), regex).rejects.toThrow(
        expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringContaining('too many steps') }),
      )
    }
  })

  it('is reported once, and named by describe', async () => {
    const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    vi.resetModules()
    const fresh = await import('../../src/tokenizer/tokenizer.js')
    await fresh.Tokenizer.load(source(splitAt('[a-z]+')))
    await fresh.Tokenizer.load(source(splitAt('[A-Z]+')))
    expect(warned).toHaveBeenCalledOnce()
    expect(warned.mock.calls[0]![0]).toContain('[a-z]+')
    warned.mockRestore()
  })

  it('leaves the event loop its turns while it is translated', async () => {
    let latest = performance.now()
    const gaps: number[] = []
    const timer = setInterval(() => {
      gaps.push(performance.now() - latest)
      latest = performance.now()
    }, 1)
    await compileRegex('[\\p{L}\\p{M}]+|[^\\p{L}\\s]+(?i:[a-z]x)|\\p{Han}|\\p{S}')
    clearInterval(timer)
    // A slow machine may take longer for a turn now and then, but not for most.
    expect(gaps.sort((a, b) => a - b)[Math.floor(gaps.length / 2)]).toBeLessThan(20)
    expect(gaps.length).toBeGreaterThan(3)
  })

  for (const [regex, reason] of [
    ['(a', '( without )'],
    ['a)', ') without ('],
    ['[a', 'end'],
    ['a**', 'quantifier'],
    ['+a', 'quantifier of nothing'],
    ['(?:a*)*', 'may match nothing'],
    ['(a)\\1', '\\1'],
    ['\\k<a>', '\\k'],
    ['\\p{Klingon}', '\\p{Klingon}'],
    ['\\p{RGI_Emoji}', '\\p{RGI_Emoji}'],
    ['(?<=ab)c', 'look behind'],
    ['a{2}?', '{n}?'],
    ['a{1,2}+', '{n,m}+'],
    ['a{2,1}', '{2,1}'],
    ['a{99999}', '{99999}'],
    ['(?x: a)', '(?x'],
    ['\\Ga', '\\G'],
    ['\\R', '\\R'],
    ['\\u12', 'end'],
    ['[z-a]', 'range'],
    ['(?i:strasse)', 'st'],
    ['(?~ab)', '(?~'],
    ['[[:nope:]]', 'nope'],
    ['(?:(?:(?:a{100}b){100}){100})', 'too long'],
    ['('.repeat(100) + ')'.repeat(100), 'deep'],
    ['a'.repeat(20_000), 'longer'],
  ] as const)
    it(`is refused with its reason where it has no equal: ${regex.slice(0, 30)}`, async () => {
      await expect(compileRegex(regex)).rejects.toThrow(RegexUnsupported)
      await expect(Tokenizer.load(source(splitAt(regex)))).rejects.toThrow(
        expect.objectContaining({ code: 'TOKENIZER_UNSUPPORTED', message: expect.stringContaining(reason) }),
      )
    })
})

/** The names in the source of llama.cpp (src/llama-vocab.cpp, late 2026), by the names of their expressions there. */
const llamaCpp = {
  default: 'default',
  llama3: 'llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano',
  dbrx: 'dbrx smaug-bpe glm4 chatglm-bpe',
  minicpm5: 'minicpm5',
  deepseek_llm: 'deepseek-llm',
  deepseek_coder: 'deepseek-coder',
  deepseek_v3: 'deepseek-v3 hunyuan-dense joyai-llm hy_v4',
  spark: 'spark2_5',
  youtu: 'youtu',
  falcon: 'falcon',
  gpt2:
    'gpt-2 phi-2 jina-es jina-de gigachat jina-v2-es jina-v2-de a.x-4.0 mellum modern-bert jina-v1-en jina-v2-code roberta-bpe ' +
    'mpt olmo jais trillion granite-docling exaone4',
  digits_gpt2: 'starcoder refact command-r smollm codeshell exaone minerva-7b mellum2',
  jais2: 'jais-2',
  qwen2: 'qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2',
  qwen35: 'qwen35',
  bloom: 'poro-chat bloom gpt3-finnish',
  viking: 'viking',
  tekken: 'tekken',
  chameleon: 'chameleon',
  gpt4o: 'gpt-4o llama4 kanana2 talkie minimax-m2 granite-embed-multi-97m',
  aya: 'tiny_aya cohere2moe',
  kimi: 'kimi-k2',
  superbpe: 'superbpe',
  bailing: 'bailingmoe bailingmoe2 llada-moe',
  seed: 'seed-coder',
  ufakzeka: 'ufakzeka',
  afmoe: 'afmoe',
  laguna: 'laguna',
  exaone_moe: 'exaone-moe',
}

/** A text, and what becomes of it. */
const expected: Record<keyof typeof llamaCpp, [string, string]> = {
  default: ["it's 12345, x", "it|'|s| |123|45|,| x"],
  llama3: ["IT'S 12345, x\n\n y", "IT|'S| |123|45|,| x|\n\n| y"],
  dbrx: ["IT'S 12345, x\n\n y", "IT|'S| |123|45|,| x|\n\n| y"],
  minicpm5: ["IT'S 12345, x", "IT|'S| |123|45|,| x"],
  deepseek_llm: ['ab 12345, x', 'ab| |12345|,| x'],
  deepseek_coder: ['ab 123, x', 'ab| |1|2|3|,| x'],
  deepseek_v3: ['ab 12345, 漢x', 'ab| |123|45|,| |漢|x'],
  spark: ['ab 12345,\n漢x', 'ab| |1|2|3|4|5|,|\n|漢|x'],
  youtu: ['aB 12，漢x', 'a|B| |1|2|，|漢|x'],
  falcon: ["it's 1234", "it|'|s| |123|4"],
  gpt2: ["it's 12345, x  y", "it|'s| 12345|,| x| | y"],
  digits_gpt2: ["it's 12, x", "it|'s| |1|2|,| x"],
  jais2: [`a${' '.repeat(7)}b 1234`, 'a|    |  | b| |123|4'],
  qwen2: ["IT'S 12, x\n\n y", "IT|'S| |1|2|,| x|\n\n| y"],
  qwen35: ['ne\u0301e 12', 'ne\u0301e| |1|2'],
  bloom: ['ab 12,, x', 'ab| 12|,,| x'],
  viking: ['ab 12, x', 'ab| |1|2|,| x'],
  tekken: ["aB 12/\nit's", "a|B| |1|2|/\n|it|'s"],
  chameleon: ['IMGIMGABZ 1    x', 'IMGIMGABZ| |1|    |x'],
  gpt4o: ["aB 1234/\nit's", "a|B| |123|4|/\n|it's"],
  aya: ["aB 1234567 it's", "a|B| |1|234|567| it's"],
  kimi: ["aB漢字c 1234 it's", "a|B|漢字|c| |123|4| it's"],
  superbpe: ['ab 1234567x', 'ab |1|234|567|x'],
  bailing: ["IT's 12, x", "IT|'s| |1|2|,| x"],
  seed: ["IT's 12,\nx", "IT|'s| |1|2|,|\n|x"],
  ufakzeka: ["Ali'nin 12", "Ali|'nin| |1|2"],
  afmoe: ['ab 12345漢x, y', 'ab| |12|345|漢|x|,| y'],
  laguna: ["it's\n\n 1", "it|'s|\n\n| |1"],
  exaone_moe: ["a b'S 12,/", "a b|'S| |1|2|,/"],
}

describe('tokenizer.ggml.pre', () => {
  const known = Object.entries(llamaCpp).flatMap(([kind, names]) =>
    names.split(' ').map((name) => [name, kind as keyof typeof llamaCpp] as const),
  )

  it('has a row for each name that llama.cpp knows and that means BPE of bytes, and no other', () => {
    expect(Object.keys(ggufPreTokenizers).sort()).toEqual(known.map(([name]) => name).sort())
  })

  for (const [name, kind] of known)
    it(`${name} splits as its expressions say`, async () => {
      const steps = ggufPreTokenizers[name]!.patterns.map((pattern) =>
        splitAt(typeof pattern === 'string' ? (splitPatterns[pattern].regexes[0] as string) : pattern.regex),
      )
      const [text, pieces] = expected[kind]
      expect((await words(await Tokenizer.load(source(...steps)), text)).join('|')).toBe(pieces)
    })
})
