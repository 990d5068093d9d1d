/** Tokenizers through the binding: small ones with the reference's answers, real vocabularies where they are at hand. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { openGguf } from '../../src/formats/gguf.js'
import type { TokenizerSource } from '../../src/formats/checkpoint.js'
import { describe as describeTokenizer, Tokenizer } from '../../src/tokenizer/tokenizer.js'

const root = join(import.meta.dirname, '../..')
const fixtures = join(root, 'test/fixtures/tokenizers')
/** INFERNODE_TOKENIZERS: a folder with `made/<name>/` and real vocabularies, `<name>.gguf` with its `.inp` and `.out`. */
const asked = process.env.INFERNODE_TOKENIZERS
const small = join(asked ?? fixtures, 'made')
const vocabularies = asked ?? join(root, '../shared/tokenizers')
const models = process.env.INFERNODE_TEST_MODELS ?? join(root, '../shared/models')

interface Case {
  text: string
  ids: number[]
  offsets: [number, number][]
  ids_parsing_specials: number[]
  ids_with_added: number[]
  decoded: string
}

/** Two texts together. */
interface Pair {
  a: string
  b: string
  ids: number[]
  type_ids: number[]
}

const json = (path: string) => JSON.parse(readFileSync(path, 'utf8'))
const fromJson = (path: string): TokenizerSource => ({ from: 'tokenizer.json', path, config: {} })
const made = (name: string) => join(fixtures, 'made', name)
const code = (code: string) => expect.objectContaining({ name: 'InfernodeError', code })

async function fromGguf(path: string): Promise<TokenizerSource> {
  return (await openGguf(path)).tokenizer!
}

/** The cases count code points, infernode UTF-16 code units, as JavaScript does. */
function toUnits(text: string, offsets: readonly [number, number][]): number[] {
  const unitAt = [0]
  for (const character of text) unitAt.push(unitAt.at(-1)! + character.length)
  return offsets.flat().map((point) => unitAt[point]!)
}

describe('tokenizer cases: small tokenizers', () => {
  for (const name of existsSync(small) ? readdirSync(small) : [])
    it(`${name} gives the ids, offsets, texts and pairs of the reference`, async () => {
      const tokenizer = await Tokenizer.load(fromJson(join(small, name, 'tokenizer.json')))
      const { cases, pair }: { cases: Case[]; pair: Pair } = json(join(small, name, 'cases.json'))
      expect(cases.length).toBeGreaterThan(40)
      for (const { text, ids, offsets, ids_parsing_specials, ids_with_added, decoded } of cases) {
        const plain = await tokenizer.encode(text, { addSpecial: false, offsets: true })
        expect([...plain.ids], text).toEqual(ids)
        expect([...plain.offsets], text).toEqual(toUnits(text, offsets))
        const parsed = await tokenizer.encode(text, { addSpecial: false, parseSpecial: true })
        expect([...parsed.ids], text).toEqual(ids_parsing_specials)
        expect([...(await tokenizer.encode(text, { parseSpecial: true })).ids], text).toEqual(ids_with_added)
        expect(await tokenizer.decode(ids), text).toBe(decoded)
      }
      const both = await tokenizer.encode(pair.a, { pair: pair.b })
      expect([...both.ids]).toEqual(pair.ids)
      expect([...both.typeIds]).toEqual(pair.type_ids)
    })

  for (const name of readdirSync(join(fixtures, 'made')))
    it(`the description of ${name} is the one that the C++ tests use`, async () => {
      const description = await describeTokenizer(fromJson(join(made(name), 'tokenizer.json')))
      const vocab = { ...description.vocab, file: 'tokenizer.json' }
      expect({ ...description, vocab }).toEqual(json(join(made(name), 'description.json')))
    })
})

const pathOf = (name: string) =>
  name === 'gemma3' ? join(models, 'gemma3-270m/gemma-3-270m.gguf') : join(vocabularies, `${name}.gguf`)

describe('descriptions of real vocabularies', () => {
  for (const name of readdirSync(join(fixtures, 'gguf')).map((file) => basename(file, '.json'))) {
    const there = existsSync(pathOf(name))
    if (!there) console.warn(`SKIPPED: there is no ${pathOf(name)}`)
    // Skipped and not left out: a suite without any test fails, and most people have none of these files.
    it.skipIf(!there)(`the description of ${name} is the one that the C++ tests use`, async () => {
      const description = await describeTokenizer(await fromGguf(pathOf(name)))
      const vocab = { ...description.vocab, file: basename(pathOf(name)) }
      expect({ ...description, vocab }).toEqual(json(join(fixtures, 'gguf', `${name}.json`)))
    })
  }
})

describe('tokenizer cases: real vocabularies', () => {
  const real = existsSync(vocabularies) ? readdirSync(vocabularies).filter((file) => file.endsWith('.gguf.inp')) : []
  if (real.length === 0) console.warn(`SKIPPED: there are no vocabularies with cases in ${vocabularies}`)
  for (const name of real.map((file) => basename(file, '.gguf.inp')))
    it(`${name} gives the ids of the reference, and the text back where it can`, async () => {
      const tokenizer = await Tokenizer.load(await fromGguf(pathOf(name)))
      const texts = readFileSync(`${pathOf(name)}.inp`, 'utf8').split('\n__ggml_vocab_test__\n')
      const lines = readFileSync(`${pathOf(name)}.out`, 'utf8').split('\n')
      expect(texts.length).toBeGreaterThan(40)
      for (const [i, text] of texts.entries()) {
        const expected = lines[i]!.trim() === '' ? [] : lines[i]!.trim().split(/\s+/).map(Number)
        const { ids } = await tokenizer.encode(text, { addSpecial: false })
        expect([...ids], text).toEqual(expected)
        // WordPiece does not know how words were spaced, or spelled.
        if (name !== 'bert-bge') expect(await tokenizer.decode(ids)).toBe(text)
      }
    })

  const gemma = join(models, 'gemma3-270m/reference.json')
  if (!existsSync(gemma)) console.warn(`SKIPPED: there is no ${gemma}`)
  it.skipIf(!existsSync(gemma))('gemma3 gives the ids of the reference, beginning of text included', async () => {
    const tokenizer = await Tokenizer.load(await fromGguf(pathOf('gemma3')))
    for (const { prompt, ids } of json(gemma).cases) expect([...(await tokenizer.encode(prompt)).ids], prompt).toEqual(ids)
  })

  const minilm = join(models, 'minilm')
  const hasMinilm = existsSync(join(minilm, 'reference.json'))
  if (!hasMinilm) console.warn(`SKIPPED: there is no ${minilm}/reference.json`)
  it.skipIf(!hasMinilm)('minilm gives the ids of the reference', async () => {
    const tokenizer = await Tokenizer.load(fromJson(join(minilm, 'tokenizer.json')))
    const { cases } = json(join(minilm, 'reference.json'))
    expect(cases.length).toBeGreaterThan(0)
    for (const { text, ids } of cases) {
      // The reference takes at most 256 ids, [SEP] among them.
      const all = [...(await tokenizer.encode(text)).ids]
      expect(all.length > 256 ? [...all.slice(0, 255), all.at(-1)] : all, text.slice(0, 80)).toEqual(ids)
    }
  })
})

describe('Tokenizer', () => {
  const folder = mkdtempSync(join(tmpdir(), 'infernode-tokenizer-'))
  afterAll(() => rmSync(folder, { recursive: true }))

  /** gpt2's small tokenizer with something else in it. */
  function changed(change: (tokenizer: any) => void): TokenizerSource {
    const tokenizer = json(join(made('gpt2'), 'tokenizer.json'))
    change(tokenizer)
    const path = join(folder, 'tokenizer.json')
    writeFileSync(path, JSON.stringify(tokenizer))
    return fromJson(path)
  }
  const unsupported = (change: (tokenizer: any) => void, name: string) =>
    expect(Tokenizer.load(changed(change))).rejects.toThrow(
      expect.objectContaining({ code: 'TOKENIZER_UNSUPPORTED', message: expect.stringContaining(name) }),
    )

  it('names the component that it does not know', async () => {
    await unsupported((t) => (t.normalizer = { type: 'Nmt' }), 'normalizer "Nmt"')
    await unsupported((t) => (t.normalizer = { type: 'Sequence', normalizers: [{ type: 'NFC' }, { type: 'ByteLevel' }] }), 'ByteLevel')
    await unsupported((t) => (t.normalizer = { type: 'Replace', pattern: { Regex: '[a-z]' }, content: '' }), 'Replace [a-z]')
    await unsupported((t) => (t.decoder = { type: 'CTC' }), 'decoder "CTC"')
    await unsupported((t) => (t.post_processor = { type: 'Other' }), 'post-processor "Other"')
    await unsupported((t) => (t.model.dropout = 0.1), 'dropout')
    await unsupported((t) => (t.model.end_of_word_suffix = '</w>'), 'end_of_word_suffix')
    await unsupported((t) => (t.model.type = 'WordLevel'), 'model "WordLevel"')
    const split = { type: 'Split', pattern: { Regex: '(a)\\1' }, behavior: 'Isolated', invert: false }
    const bytes = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false }
    const sequence = (...pretokenizers: unknown[]) => ({ type: 'Sequence', pretokenizers })
    await unsupported((t) => (t.pre_tokenizer = sequence(split, bytes)), '(a)\\1 (\\1 at')
    await unsupported((t) => (t.pre_tokenizer = sequence({ ...split, pattern: { Regex: '\\p{N}' }, behavior: 'Other' }, bytes)), 'Other')
    await unsupported((t) => (t.pre_tokenizer = sequence({ type: 'Metaspace', replacement: '▁' }, bytes)), 'Metaspace')
    await unsupported((t) => (t.pre_tokenizer = sequence(bytes, { type: 'Whitespace' })), 'Whitespace after ByteLevel')
    await unsupported((t) => (t.pre_tokenizer = { type: 'UnicodeScripts' }), 'UnicodeScripts')
    // Then it is BPE of characters, and its decoder must be of those.
    await unsupported((t) => (t.pre_tokenizer = { type: 'Whitespace' }), 'decoder "ByteLevel"')
    const characters = (decoder: unknown) => (t: any) => Object.assign(t, { pre_tokenizer: { type: 'Whitespace' }, decoder })
    await unsupported(characters(null), 'decoder "none"')
    await unsupported(characters({ type: 'Sequence', decoders: [{ type: 'Fuse' }, { type: 'ByteFallback' }] }), 'ByteFallback after Fuse')
    await unsupported(characters({ type: 'Strip', content: ' ', start: 1, stop: 0 }), 'Strip')
    await unsupported((t) => Object.assign(t, { model: { ...t.model, type: 'Unigram' } }), 'ByteLevel for Unigram')
  })

  it('adds what a template puts around the text', async () => {
    const tokenizer = await Tokenizer.load(
      changed((t) => {
        t.post_processor = {
          type: 'Sequence',
          processors: [
            { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
            {
              type: 'TemplateProcessing',
              single: [{ SpecialToken: { id: '<|im_start|>' } }, { Sequence: { id: 'A' } }, { SpecialToken: { id: '<|im_end|>' } }],
              special_tokens: { '<|im_start|>': { ids: [1] }, '<|im_end|>': { ids: [2] } },
            },
          ],
        }
      }),
    )
    const { ids, offsets } = await tokenizer.encode('a a', { offsets: true })
    expect([ids[0], ids.at(-1)]).toEqual([1, 2])
    // The second a without its space, then nothing at the end.
    expect([...offsets].slice(-4)).toEqual([2, 3, 3, 3])
    expect([...(await tokenizer.encode('a', { addSpecial: false })).ids]).not.toContain(1)
    expect(await tokenizer.decode(ids, { skipSpecial: true })).toBe('a a')
    expect(await tokenizer.decode(ids)).toBe('<|im_start|>a a<|im_end|>')
  })

  it('adds what the tokenizer class of tokenizer_config.json adds', async () => {
    const path = join(made('gpt2'), 'tokenizer.json')
    const ids = async (config: Record<string, unknown>) =>
      [...(await (await Tokenizer.load({ from: 'tokenizer.json', path, config })).encode('')).ids]
    const tokens = { bos_token: { content: '<|im_start|>' }, eos_token: '<|im_end|>' }
    expect(await ids({ ...tokens, tokenizer_class: 'LlamaTokenizerFast' })).toEqual([1])
    expect(await ids({ ...tokens, tokenizer_class: 'LlamaTokenizerFast', add_bos_token: false, add_eos_token: true })).toEqual([2])
    expect(await ids({ ...tokens, tokenizer_class: 'PreTrainedTokenizerFast', add_bos_token: true })).toEqual([])
    await expect(ids({ tokenizer_class: 'LlamaTokenizer' })).rejects.toThrow(code('TOKENIZER_INVALID'))
    await expect(ids({ tokenizer_class: 'LlamaTokenizer', bos_token: 'absent' })).rejects.toThrow(code('TOKENIZER_INVALID'))
  })

  it('splits as Falcon does, digits after bytes', async () => {
    const source = changed((t) => {
      t.pre_tokenizer = {
        type: 'Sequence',
        pretokenizers: [
          { type: 'Punctuation', behavior: 'Contiguous' },
          { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true },
          { type: 'Digits', individual_digits: false },
          { type: 'Split', pattern: { Regex: '[0-9][0-9][0-9]' }, behavior: 'Isolated', invert: false },
        ],
      }
    })
    const { preTokenizer } = await describeTokenizer(source)
    expect(preTokenizer).toEqual(['punctuationRuns', 'gpt2', 'byteDigitRuns', 'asciiTriples'])
    const tokenizer = await Tokenizer.load(source)
    const text = 'ò12345 $+x. 1'
    expect(await tokenizer.decode((await tokenizer.encode(text)).ids)).toBe(text)
  })

  it('refuses damaged files', async () => {
    const path = join(folder, 'damaged.json')
    writeFileSync(path, readFileSync(join(made('gpt2'), 'tokenizer.json')).subarray(0, 5000))
    await expect(Tokenizer.load(fromJson(path))).rejects.toThrow(code('FILE_CORRUPT'))
    await expect(Tokenizer.load(fromJson(join(folder, 'none.json')))).rejects.toThrow(code('FILE_UNREADABLE'))
    await expect(Tokenizer.load(changed((t) => (t.model.merges = [['a', 'zzz']])))).rejects.toThrow(code('TOKENIZER_INVALID'))
    await expect(Tokenizer.load(changed((t) => delete t.model))).rejects.toThrow(code('TOKENIZER_INVALID'))
  })

  it('refuses GGUF pre-tokenizers that it does not know, and files without one', async () => {
    const source = { from: 'gguf', path: 'x.gguf', tokens: { offset: 0, bytes: 8, count: 1 }, scores: null, types: null, merges: null } as const
    const load = (entries: [string, string][]) =>
      Tokenizer.load({ ...source, metadata: new Map(entries.map(([key, value]) => [`tokenizer.ggml.${key}`, value])) })
    await expect(load([['model', 'gpt2'], ['pre', 'new']])).rejects.toThrow('pre-tokenizer "new"')
    await expect(load([['model', 'gpt2']])).rejects.toThrow(code('TOKENIZER_UNSUPPORTED'))
    await expect(load([['model', 'rwkv']])).rejects.toThrow('model "rwkv"')
    await expect(load([])).rejects.toThrow(code('TOKENIZER_INVALID'))
  })

  it('reads the GGUF form of T5: table, scores, spaces as metadata says, control tokens never from text', async () => {
    const { model, normalizer } = json(join(made('unigram-t5'), 'tokenizer.json'))
    const vocab: [string, number][] = model.vocab
    const table = Buffer.from(normalizer.normalizers[0].precompiled_charsmap, 'base64')
    const strings = vocab.map(([piece]) => {
      const bytes = Buffer.from(piece)
      const length = Buffer.alloc(8)
      length.writeBigUInt64LE(BigInt(bytes.length))
      return Buffer.concat([length, bytes])
    })
    const parts = [
      Buffer.concat(strings),
      Buffer.from(Float32Array.from(vocab, ([, score]) => score).buffer),
      Buffer.from(Int32Array.from(vocab, (_, id) => [3, 3, 2][id] ?? 1).buffer),
      table,
    ]
    const path = join(folder, 't5.gguf')
    writeFileSync(path, Buffer.concat(parts))
    const range = (part: number, count: number) => ({
      offset: parts.slice(0, part).reduce((sum, { length }) => sum + length, 0),
      bytes: parts[part]!.length,
      count,
    })
    const load = (charsmap: object, more: [string, string | boolean][] = []) =>
      Tokenizer.load({
        from: 'gguf',
        path,
        metadata: new Map<string, any>(
          [
            ['model', 't5'],
            ['add_space_prefix', true],
            ['remove_extra_whitespaces', true],
            ['precompiled_charsmap', charsmap],
            ...more,
          ].map(([key, value]) => [`tokenizer.ggml.${key as string}`, value]),
        ),
        tokens: range(0, vocab.length),
        scores: range(1, vocab.length),
        types: range(2, vocab.length),
        merges: null,
      })
    const tokenizer = await load(range(3, table.length))
    for (const { text, ids, decoded } of json(join(made('unigram-t5'), 'cases.json')).cases as Case[]) {
      if (/<\/?s>|<unk>|<pad>/.test(text)) continue
      const encoded = await tokenizer.encode(text, { addSpecial: false })
      expect([...encoded.ids], text).toEqual(ids)
      expect(await tokenizer.decode(ids), text).toBe(decoded)
    }
    expect([...(await tokenizer.encode('</s>')).ids].filter((id) => id === 1)).toHaveLength(1)
    expect([...(await tokenizer.encode('a', { pair: 'b' })).typeIds]).toEqual([0, 0, 1, 1])
    await expect(load({ ...range(3, table.length), count: 1 })).rejects.toThrow(code('TOKENIZER_INVALID'))
    await expect(load({ offset: 0, bytes: 9, count: 9 })).rejects.toThrow(code('TOKENIZER_INVALID'))
    await expect(load({ offset: 0, bytes: 1e9, count: 1e9 })).rejects.toThrow(code('TOKENIZER_INVALID'))
    await expect(load(range(3, table.length), [['add_bos_token', true]])).rejects.toThrow(code('TOKENIZER_INVALID'))
  })

  it('reads what the GGUF form of BERT says about the tokens around a text', async () => {
    const path = pathOf('bert-bge')
    if (!existsSync(path)) return console.warn(`SKIPPED: there is no ${path}`)
    const tokenizer = await Tokenizer.load(await fromGguf(path))
    const { ids, typeIds } = await tokenizer.encode('Hello, Wörld!', { pair: 'second' })
    expect(tokenizer.pieces(ids).join(' ')).toBe('[CLS] ▁hello ▁, ▁world ▁! [SEP] ▁second [SEP]')
    expect([...typeIds]).toEqual([0, 0, 0, 0, 0, 0, 1, 1])
    expect(await tokenizer.decode(ids, { skipSpecial: true })).toBe('hello, world! second')
  })

  it('adds what RoBERTa and BERT put around one text and two', async () => {
    const around = async (type: string) => {
      const tokenizer = await Tokenizer.load(
        changed((t) => (t.post_processor = { type, cls: ['<s>', 1], sep: ['</s>', 2], trim_offsets: true, add_prefix_space: false })),
      )
      const single = await tokenizer.encode('a')
      const pair = await tokenizer.encode('a', { pair: 'a' })
      return [[...single.ids], [...pair.ids], [...pair.typeIds]].map((list) => list.join(' '))
    }
    const a = (await (await Tokenizer.load(changed(() => {}))).encode('a')).ids[0]
    expect(await around('BertProcessing')).toEqual([`1 ${a} 2`, `1 ${a} 2 ${a} 2`, '0 0 0 1 1'])
    expect(await around('RobertaProcessing')).toEqual([`1 ${a} 2`, `1 ${a} 2 2 ${a} 2`, '0 0 0 0 0 0'])
  })

  it('counts lone surrogates as U+FFFD', async () => {
    const tokenizer = await Tokenizer.load(fromJson(join(made('gpt2'), 'tokenizer.json')))
    const { ids, offsets } = await tokenizer.encode('a\ud800b', { offsets: true })
    expect(await tokenizer.decode(ids)).toBe('a\ufffdb')
    expect(offsets.at(-1)).toBe(3)
  })

  it('knows pieces, ids and control tokens, and refuses ids that are none', async () => {
    const tokenizer = await Tokenizer.load(fromJson(join(made('gpt2'), 'tokenizer.json')))
    const id = tokenizer.find('<|im_start|>')!
    expect(tokenizer.pieces([id])).toEqual(['<|im_start|>'])
    expect(tokenizer.isSpecial(id)).toBe(true)
    expect(tokenizer.isSpecial(tokenizer.find('a')!)).toBe(false)
    expect(tokenizer.isSpecial(1e9)).toBe(false)
    expect(tokenizer.find('no such piece')).toBeUndefined()
    for (const id of [-1, tokenizer.vocabSize, 2 ** 32, 1.5, NaN]) {
      await expect(tokenizer.decode([id])).rejects.toThrow(code('TOKEN_UNKNOWN'))
      expect(() => tokenizer.pieces([id])).toThrow(code('TOKEN_UNKNOWN'))
    }
  })

  it('encodes many texts at once', async () => {
    const tokenizer = await Tokenizer.load(fromJson(join(made('llama3'), 'tokenizer.json')))
    const texts = Array.from({ length: 200 }, (_, i) => `text ${i} `.repeat(i))
    const encoded = await Promise.all(texts.map((text) => tokenizer.encode(text)))
    for (const [i, { ids }] of encoded.entries()) expect(await tokenizer.decode(ids)).toBe(texts[i])
  })
})
