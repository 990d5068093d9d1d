/** tokenizer.json with every field once wrong, and cut short anywhere: an error with the expected code, never another one. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { Tokenizer } from '../../src/tokenizer/tokenizer.js'
import type { ErrorCode } from '../../src/errors.js'

const made = join(import.meta.dirname, '../fixtures/tokenizers/made')
const folder = mkdtempSync(join(tmpdir(), 'infernode-hostile-'))
afterAll(() => rmSync(folder, { recursive: true }))

const load = (text: string | Buffer) => {
  const path = join(folder, 'tokenizer.json')
  writeFileSync(path, text)
  return Tokenizer.load({ from: 'tokenizer.json', path, config: {} })
}
const read = (kind: string): any => JSON.parse(readFileSync(join(made, kind, 'tokenizer.json'), 'utf8'))

/** kind, what is wrong, the change, the code. */
const cases: [kind: string, name: string, change: (t: any) => unknown, code: ErrorCode][] = [
  ['gpt2', 'no model', (t) => delete t.model, 'TOKENIZER_INVALID'],
  ['gpt2', 'a model that is a list', (t) => (t.model = []), 'TOKENIZER_INVALID'],
  ['gpt2', 'a model of an unknown type', (t) => (t.model.type = 'Magic'), 'TOKENIZER_UNSUPPORTED'],
  ['gpt2', 'no vocabulary', (t) => delete t.model.vocab, 'TOKENIZER_INVALID'],
  ['gpt2', 'a vocabulary that is a list', (t) => (t.model.vocab = ['a']), 'TOKENIZER_INVALID'],
  ['gpt2', 'an id that is negative', (t) => (t.model.vocab.a = -1), 'TOKENIZER_INVALID'],
  ['gpt2', 'an id of 2^31', (t) => (t.model.vocab.a = 2 ** 31), 'TOKENIZER_INVALID'],
  ['gpt2', 'an id of 2^64 - 1', (t) => (t.model.vocab.a = 2 ** 64), 'FILE_CORRUPT'],
  ['gpt2', 'an id with a fraction', (t) => (t.model.vocab.a = 1.5), 'FILE_CORRUPT'],
  ['gpt2', 'an id that is text', (t) => (t.model.vocab.a = '7'), 'FILE_CORRUPT'],
  ['gpt2', 'an id given to two pieces', (t) => (t.model.vocab.a = t.model.vocab.b), 'TOKENIZER_INVALID'],
  ['gpt2', 'merges that are an object', (t) => (t.model.merges = {}), 'TOKENIZER_INVALID'],
  ['gpt2', 'a merge of one piece', (t) => (t.model.merges = [['a']]), 'TOKENIZER_INVALID'],
  ['gpt2', 'a merge of three pieces', (t) => (t.model.merges = [['a', 'b', 'c']]), 'TOKENIZER_INVALID'],
  ['gpt2', 'a merge of numbers', (t) => (t.model.merges = [[1, 2]]), 'TOKENIZER_INVALID'],
  ['gpt2', 'a merge without a space', (t) => (t.model.merges = ['ab']), 'TOKENIZER_INVALID'],
  ['gpt2', 'a merge of pieces that are not there', (t) => (t.model.merges = ['zzzz yyyy']), 'TOKENIZER_INVALID'],
  ['gpt2', 'a merge whose result is not there', (t) => (t.model.merges = ['! #']), 'TOKENIZER_INVALID'],
  ['gpt2', 'an unknown token that is not there', (t) => (t.model.unk_token = '<none>'), 'TOKENIZER_INVALID'],
  ['gpt2', 'an unknown token that is a number', (t) => (t.model.unk_token = 7), 'TOKENIZER_INVALID'],
  ['gpt2', 'added tokens that are an object', (t) => (t.added_tokens = {}), 'TOKENIZER_INVALID'],
  ['gpt2', 'an added token without an id', (t) => delete t.added_tokens[0].id, 'FILE_CORRUPT'],
  ['gpt2', 'an added token of a huge id', (t) => (t.added_tokens[0].id = 2 ** 40), 'TOKENIZER_INVALID'],
  ['gpt2', 'an added token without content', (t) => delete t.added_tokens[0].content, 'TOKENIZER_INVALID'],
  ['gpt2', 'a normalizer that is text', (t) => (t.normalizer = 'NFC'), 'TOKENIZER_INVALID'],
  ['gpt2', 'a normalizer without a type', (t) => (t.normalizer = {}), 'TOKENIZER_UNSUPPORTED'],
  ['gpt2', 'a sequence without a list', (t) => (t.normalizer = { type: 'Sequence' }), 'TOKENIZER_INVALID'],
  ['gpt2', 'a normalizer of every object', (t) => (t.normalizer = { type: 'constructor' }), 'TOKENIZER_UNSUPPORTED'],
  ['gpt2', 'a table that is not there', (t) => (t.normalizer = { type: 'Precompiled' }), 'TOKENIZER_INVALID'],
  ['gpt2', 'a replacement without a pattern', (t) => (t.normalizer = { type: 'Replace', content: '' }), 'TOKENIZER_INVALID'],
  ['gpt2', 'a pre-tokenizer that is a list', (t) => (t.pre_tokenizer = []), 'TOKENIZER_INVALID'],
  ['gpt2', 'a split without a pattern', (t) => (t.pre_tokenizer = { type: 'Split', behavior: 'Isolated', invert: false }), 'TOKENIZER_INVALID'],
  ['gpt2', 'a split at nothing', (t) => (t.pre_tokenizer.pretokenizers = [{ type: 'Split', pattern: { String: '' }, behavior: 'Isolated' }, { type: 'ByteLevel' }], t.pre_tokenizer.type = 'Sequence'), 'TOKENIZER_INVALID'],
  ['gpt2', 'a template without its text', (t) => (t.post_processor = { type: 'TemplateProcessing', single: [], pair: [], special_tokens: {} }), 'TOKENIZER_INVALID'],
  ['gpt2', 'a template with an unknown token', (t) => (t.post_processor = { type: 'TemplateProcessing', single: [{ SpecialToken: { id: 'x' } }, { Sequence: { id: 'A' } }], special_tokens: {} }), 'TOKENIZER_INVALID'],
  ['gpt2', 'a template with an id that is not there', (t) => (t.post_processor = { type: 'TemplateProcessing', single: [{ SpecialToken: { id: 'x' } }, { Sequence: { id: 'A' } }], special_tokens: { x: { ids: [10 ** 6] } } }), 'TOKENIZER_INVALID'],
  ['gpt2', 'tokens around texts that are not there', (t) => (t.post_processor = { type: 'BertProcessing', cls: ['a', 10 ** 7], sep: ['b', 1] }), 'TOKENIZER_INVALID'],
  ['gpt2', 'no decoder where bytes must be joined', (t) => (t.decoder = { type: 'Fuse' }), 'TOKENIZER_UNSUPPORTED'],
  ['unigram-bytes', 'a piece without a score', (t) => (t.model.vocab[5] = ['x']), 'TOKENIZER_INVALID'],
  ['unigram-bytes', 'a score that is text', (t) => (t.model.vocab[5] = ['x', 'y']), 'TOKENIZER_INVALID'],
  ['unigram-bytes', 'a piece given twice', (t) => (t.model.vocab[5] = t.model.vocab[6]), 'TOKENIZER_INVALID'],
  ['unigram-bytes', 'an unknown id outside', (t) => (t.model.unk_id = 10 ** 6), 'TOKENIZER_INVALID'],
  ['unigram-bytes', 'an unknown id that is negative', (t) => (t.model.unk_id = -1), 'TOKENIZER_INVALID'],
  ['wordpiece-uncased', 'no unknown token in the vocabulary', (t) => (t.model.unk_token = '[NONE]'), 'TOKENIZER_INVALID'],
  ['wordpiece-uncased', 'words of no characters', (t) => (t.model.max_input_chars_per_word = 0), 'TOKENIZER_INVALID'],
  ['wordpiece-uncased', 'words of many characters and a half', (t) => (t.model.max_input_chars_per_word = 1.5), 'TOKENIZER_INVALID'],
]

describe('a tokenizer.json', () => {
  for (const [kind, name, change, code] of cases)
    it(`with ${name} gives ${code}`, async () => {
      const tokenizer = read(kind)
      change(tokenizer)
      await expect(load(JSON.stringify(tokenizer))).rejects.toMatchObject({ name: 'InfernodeError', code })
    })

  it('cut short anywhere is FILE_CORRUPT', async () => {
    const bytes = readFileSync(join(made, 'wordpiece-uncased/tokenizer.json'))
    for (let length = 1; length < bytes.length - 2; length += length < 400 ? 7 : 997)
      await expect(load(bytes.subarray(0, length)), String(length)).rejects.toMatchObject({ code: 'FILE_CORRUPT' })
    await expect(load('')).rejects.toMatchObject({ name: 'InfernodeError' })
  })

  it('nested deeply, or with a list for a root, is refused', async () => {
    await expect(load(`${'{"a":'.repeat(5000)}1${'}'.repeat(5000)}`)).rejects.toMatchObject({ code: 'FILE_CORRUPT' })
    await expect(load(`{"normalizer":${'{"type":"Sequence","normalizers":['.repeat(200)}${']}'.repeat(200)}}`)).rejects.toMatchObject({ code: 'FILE_CORRUPT' })
    await expect(load('[]')).rejects.toMatchObject({ code: 'TOKENIZER_INVALID' })
    await expect(load('null')).rejects.toMatchObject({ code: 'TOKENIZER_INVALID' })
  })

  it('that gives a key twice takes the first of them, everywhere alike', async () => {
    const text = readFileSync(join(made, 'wordpiece-uncased/tokenizer.json'), 'utf8').replace(/^\s*\{/, '{"model":7,')
    await expect(load(text)).rejects.toMatchObject({ name: 'InfernodeError' })
  })
})
