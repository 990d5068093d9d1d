/** Truncation and padding, against what the Rust library gives for the same tokenizers. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { Model, type Encoding, type TokenizerInput, type TokenizerInputOptions } from '../../src/index.js'
import { Tokenizer } from '../../src/tokenizer/tokenizer.js'

const fixtures = join(import.meta.dirname, '../fixtures/tokenizers')
const made = (name: string) => join(fixtures, 'made', name, 'tokenizer.json')
const load = (path: string, config: Record<string, unknown> = {}) => Tokenizer.load({ from: 'tokenizer.json', path, config })
const folder = mkdtempSync(join(tmpdir(), 'infernode-lengths-'))
afterAll(() => rmSync(folder, { recursive: true }))

interface Expected {
  ids: number[]
  typeIds: number[]
  attentionMask: number[]
  specialTokensMask: number[]
  sequenceIds: number[]
  offsets: [number, number][]
  overflowing: Expected[]
}
interface Case {
  tokenizer: string
  inputs: [string] | [string, string][]
  addSpecial: boolean
  truncation: NonNullable<TokenizerInputOptions['truncation']>
  padding: Record<string, unknown> | null
  encodings?: Expected[]
  error?: string
}
const cases: Case[] = JSON.parse(readFileSync(join(fixtures, 'lengths.json'), 'utf8'))

/** Places of what is in a text; where special tokens are is our own choice. They are counted in code points there. */
function compare(found: Encoding, expected: Expected, texts: readonly string[], isPart = false): void {
  const { overflowing, offsets, typeIds, sequenceIds, ...lists } = expected
  // The library gives type ids to the first part only; ours are the template's in all.
  if (!isPart) expect([[...found.typeIds], [...found.sequenceIds]]).toEqual([typeIds, sequenceIds])
  for (const [name, list] of Object.entries(lists)) expect([...found[name as keyof typeof lists]], name).toEqual(list)
  expect(found.offsets).toHaveLength(2 * offsets.length)
  const units = texts.map((text) => [...text].reduce((at, c) => [...at, at.at(-1)! + c.length], [0]))
  for (const [i, [start, end]] of offsets.entries()) {
    if (expected.specialTokensMask[i]) continue
    const unitAt = units[found.sequenceIds[i]!]!
    expect([found.offsets[2 * i], found.offsets[2 * i + 1]]).toEqual([unitAt[start], unitAt[end]])
  }
  expect(found.overflowing).toHaveLength(overflowing.length)
  for (const [i, part] of overflowing.entries()) compare(found.overflowing[i]!, part, texts, true)
}

describe('truncation and padding', () => {
  for (const name of new Set(cases.map(({ tokenizer }) => tokenizer)))
    it(`of ${name} give what the reference gives, overflowing parts too`, async () => {
      const tokenizer = await load(made(name))
      for (const { inputs, addSpecial, truncation, padding, encodings, error } of cases.filter((c) => c.tokenizer === name)) {
        const options = { addSpecial, truncation, padding: padding ? { id: 0, ...padding } : false } as TokenizerInputOptions
        const given = inputs.map((texts) => (texts.length === 1 ? texts[0] : texts)) as TokenizerInput[]
        const found = tokenizer.encodeBatch(given, options)
        if (error !== undefined) {
          await expect(found, JSON.stringify([inputs, options, error])).rejects.toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
          continue
        }
        const all = await found
        expect(all).toHaveLength(encodings!.length)
        for (const [i, encoding] of all.entries()) compare(encoding, encodings![i]!, inputs[i] as string[])
      }
    })

  it('are what tokenizer.json says where they are only asked for, and what the caller says before that', async () => {
    const file = JSON.parse(readFileSync(made('wordpiece-uncased'), 'utf8'))
    file.truncation = { max_length: 6, strategy: 'LongestFirst', stride: 1, direction: 'Right' }
    file.padding = { strategy: { Fixed: 10 }, direction: 'Left', pad_to_multiple_of: 4, pad_id: 1, pad_type_id: 3, pad_token: '[UNK]' }
    const path = join(folder, 'tokenizer.json')
    writeFileSync(path, JSON.stringify(file))
    const tokenizer = await load(path)
    const text = 'once upon a time there was a little girl'
    const whole = await tokenizer.encodeInput(text)
    expect(whole.ids.length).toBeGreaterThan(9)
    expect(whole.overflowing).toEqual([])
    expect([...whole.ids]).toEqual([...(await tokenizer.encode(text)).ids])
    const asFile = await tokenizer.encodeInput(text, { truncation: true, padding: true })
    expect(asFile.ids).toHaveLength(12)
    expect([...asFile.attentionMask]).toEqual([0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    expect([...asFile.typeIds.slice(0, 7)]).toEqual([3, 3, 3, 3, 3, 3, 0])
    expect(asFile.ids[0]).toBe(1)
    expect(asFile.overflowing.length).toBeGreaterThan(1)
    const own = await tokenizer.encodeInput(text, { truncation: { maxLength: 5, stride: 0 }, padding: { length: 'longest', multipleOf: 1 } })
    expect([...own.ids]).toEqual([...whole.ids.slice(0, 4), whole.ids.at(-1)])
    expect([...own.offsets.slice(-2)]).toEqual([own.offsets.at(-3), own.offsets.at(-3)])
    for (const [field, value] of [
      ['truncation', { max_length: -1 }],
      ['truncation', 7],
      ['padding', { strategy: { Fixed: 'x' } }],
      ['padding', { strategy: 'BatchLongest', pad_id: 1.5 }],
    ] as const) {
      writeFileSync(path, JSON.stringify({ ...file, [field]: value }))
      await expect(load(path)).rejects.toThrow(expect.objectContaining({ code: 'TOKENIZER_INVALID' }))
    }
    for (const value of [{ strategy: 'Other' }, { direction: 'Up' }]) {
      writeFileSync(path, JSON.stringify({ ...file, padding: value }))
      await expect(load(path)).rejects.toThrow(expect.objectContaining({ code: 'TOKENIZER_UNSUPPORTED' }))
    }
  })

  it('take the padding token of tokenizer_config.json, and refuse to guess one', async () => {
    const tokenizer = await load(made('gpt2'), { pad_token: { content: '<|im_end|>' } })
    const [short] = await tokenizer.encodeBatch(['a', 'a longer text'], { padding: true })
    expect(short!.ids.at(-1)).toBe(tokenizer.find('<|im_end|>'))
    const bare = await load(made('gpt2'))
    const code = expect.objectContaining({ code: 'INVALID_ARGUMENT' })
    await expect(bare.encodeBatch(['a'], { padding: true })).rejects.toThrow(code)
    await expect(bare.encodeBatch(['a'], { truncation: true })).rejects.toThrow(code)
    await expect(bare.encodeBatch(['a'], { padding: { id: 1e9 } })).rejects.toThrow(code)
    await expect(bare.encodeBatch([7 as never])).rejects.toThrow(code)
    await expect(bare.encodeBatch([['a', 'b', 'c'] as never])).rejects.toThrow(code)
    await expect(bare.encodeBatch('a' as never)).rejects.toThrow(code)
    await expect(bare.encodeBatch(['a'], { truncation: { maxLength: 2, stride: 1 } })).resolves.toHaveLength(1)
    await expect(bare.encodeBatch(['a b c d'], { truncation: { maxLength: 2, stride: 2 } })).rejects.toThrow(code)
    await expect(bare.encodeBatch(['a'], { truncaton: true } as never)).rejects.toThrow(expect.objectContaining({ code: 'UNKNOWN_OPTION' }))
    await expect(bare.encodeBatch(['a'], { padding: { length: 2 ** 31 - 1, id: 0 } })).rejects.toThrow(code)
    await expect(bare.encodeBatch(['ab '.repeat(60_000)], { truncation: { maxLength: 20_000, stride: 19_999 } })).rejects.toThrow(code)
    expect(await bare.encodeBatch([])).toEqual([])
  })

  it('belong to the tokenizer of a model, which outlives it', async () => {
    const model = await Model.load()
    const { tokenizer } = model
    await model.dispose()
    const [first] = await tokenizer.encodeBatch(['Once upon a time', 'x'], { padding: { id: 0 }, truncation: { maxLength: 3 } })
    expect(first!.ids).toHaveLength(3)
    expect(first!.overflowing).not.toHaveLength(0)
    expect(await tokenizer.decode(first!.overflowing.at(-1)!.ids, { skipSpecial: true })).toContain('time')
  })
})
