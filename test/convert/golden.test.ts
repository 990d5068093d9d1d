/** Hugging Face folders as GGUF files: what they compute, and how they split text. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { tokenizerMetadata } from '../../src/convert/tokenizer.js'
import { convert } from '../../src/convert.js'
import type { Checkpoint } from '../../src/formats/checkpoint.js'
import { ggufValue, GgufWriter } from '../../src/formats/gguf-writer.js'
import { openGguf } from '../../src/formats/gguf.js'
import { Tokenizer } from '../../src/tokenizer/tokenizer.js'
import { fixture, temporaryFolder } from '../support/checkpoints.js'
import { compareGreedy, compareOutputs } from '../support/golden-runs.js'
import { huggingFace, readGolden } from '../support/goldens.js'
import { madeLlama } from '../support/made-checkpoints.js'

/** These compute the exact GELU, which GGUF cannot say. */
const refused = ['gpt2_inverse_layer_scale']

describe('golden folders converted to GGUF', () => {
  for (const name of huggingFace.filter((name) => !refused.includes(name))) {
    const golden = readGolden(name)
    it.skipIf(!golden)(`${name} gives the same logits, hidden states and greedy tokens`, async () => {
      const path = join(await temporaryFolder(), 'model.gguf')
      const report = await convert(golden!.folder, path)
      expect(report.tensors.every(({ to }) => to === 'f32')).toBe(true)
      await compareOutputs(golden!, path)
      await compareGreedy(golden!, path)
    })
  }

  it('what GGUF has no field for is an error that names the field', async () => {
    const path = join(await temporaryFolder(), 'model.gguf')
    await expect(convert(fixture('gpt2_inverse_layer_scale'), path)).rejects.toThrow(
      expect.objectContaining({ code: 'FORMAT_UNSUPPORTED', message: expect.stringContaining('activation_function') }),
    )
    expect(existsSync(path)).toBe(false)
  })
})

const tokenizers = process.env.INFERNODE_TOKENIZERS ?? join(import.meta.dirname, '../fixtures/tokenizers')
const made = existsSync(join(tokenizers, 'made')) ? readdirSync(join(tokenizers, 'made')) : []
const isBpe = (name: string) => !/^(unigram|wordpiece)/.test(name)

/** A GGUF file of nothing but the tokenizer. */
async function convertTokenizer(name: string, config: Record<string, unknown> = {}): Promise<{ path: string; remarks: readonly string[] }> {
  const file = join(tokenizers, 'made', name, 'tokenizer.json')
  const { length } = Object.keys(JSON.parse(readFileSync(file, 'utf8')).model.vocab)
  const checkpoint: Checkpoint = { ...madeLlama(), tokenizer: { from: 'tokenizer.json', path: file, config } }
  const { metadata, remarks } = await tokenizerMetadata(checkpoint, length)
  const path = join(await temporaryFolder(), 'tokenizer.gguf')
  const writer = await GgufWriter.create(path, {
    metadata: new Map([['general.architecture', ggufValue('string', 'llama')], ...metadata]),
    tensors: [],
  })
  await writer.finish()
  return { path, remarks }
}

describe('tokenizer cases: tokenizer.json converted to GGUF', () => {
  for (const name of made.filter(isBpe))
    it(`${name} gives the same ids and texts`, async () => {
      const { path } = await convertTokenizer(name)
      const tokenizer = await Tokenizer.load((await openGguf(path)).tokenizer!)
      const { cases } = JSON.parse(readFileSync(join(tokenizers, 'made', name, 'cases.json'), 'utf8'))
      expect(cases.length).toBeGreaterThan(40)
      for (const { text, ids, ids_parsing_specials, ids_with_added, decoded } of cases) {
        expect([...(await tokenizer.encode(text, { addSpecial: false })).ids], text).toEqual(ids)
        const parsed = await tokenizer.encode(text, { addSpecial: false, parseSpecial: true })
        expect([...parsed.ids], text).toEqual(ids_parsing_specials)
        expect([...(await tokenizer.encode(text, { parseSpecial: true })).ids], text).toEqual(ids_with_added)
        expect(await tokenizer.decode(ids), text).toBe(decoded)
      }
    })

  for (const name of made.filter((name) => !isBpe(name)))
    it(`${name} is an error that names the kind: no family that converts has one`, async () => {
      const kind = name.startsWith('unigram') ? 'unigram' : 'wordpiece'
      await expect(convertTokenizer(name)).rejects.toThrow(
        expect.objectContaining({ code: 'TOKENIZER_UNSUPPORTED', message: expect.stringContaining(kind) }),
      )
    })

  it('merges that scores cannot stand for are kept, and said', async () => {
    expect((await convertTokenizer('llama2-bpe-fallback')).remarks.join()).toContain('merges decide')
    expect((await convertTokenizer('gpt2')).remarks).toEqual([])
  })

  it('tokens with a role in tokenizer_config.json have it in the file', async () => {
    const { path } = await convertTokenizer('qwen2', { eos_token: '<|im_end|>', pad_token: { content: '<|endoftext|>' } })
    const { metadata } = (await openGguf(path)).tokenizer as Extract<Checkpoint['tokenizer'], { from: 'gguf' }>
    expect(Object.fromEntries(metadata)).toMatchObject({
      'tokenizer.ggml.model': 'gpt2',
      'tokenizer.ggml.pre': 'qwen2',
      'tokenizer.ggml.eos_token_id': 2,
      'tokenizer.ggml.padding_token_id': 0,
      'tokenizer.ggml.add_bos_token': false,
    })
  })
})
