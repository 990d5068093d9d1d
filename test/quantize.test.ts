/** quantize() and convert() as callers see them: reports, types, errors, and what is left when they fail. */
import { existsSync } from 'node:fs'
import { copyFile, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { chooseTypes, fileTypes, type TensorToType } from '../src/convert/choose-types.js'
import { targetTypes } from '../src/convert.js'
import { openGguf } from '../src/formats/gguf.js'
import { ggufValue, GgufWriter } from '../src/formats/gguf-writer.js'
import { openCheckpoint } from '../src/formats/index.js'
import { convert, type ConversionProgress, Model, quantize } from '../src/index.js'
import { tensorTypes } from '../src/tensor-types.js'
import { bytesOf, fixture, temporaryFolder } from './support/checkpoints.js'

const llama = fixture('llama')
const embedded = join(import.meta.dirname, '../models/fairytale-q8_0.gguf')
const code = (code: string, text = '') => expect.objectContaining({ name: 'InfernodeError', code, message: expect.stringContaining(text) })

/** A GGUF file of matrices with rows of 256 values, a vector and a router. */
async function madeFile(path: string, nLayers = 1, rows = 4): Promise<string> {
  const tensors = [
    { name: 'token_embd.weight', type: 'f32', shape: [8, 256] } as const,
    ...Array.from({ length: nLayers }, (_, i) => [
      { name: `blk.${i}.attn_norm.weight`, type: 'f32', shape: [256] } as const,
      { name: `blk.${i}.attn_v.weight`, type: 'f32', shape: [rows, 256] } as const,
      { name: `blk.${i}.ffn_gate.weight`, type: 'f32', shape: [rows, 96] } as const,
      { name: `blk.${i}.ffn_gate_inp.weight`, type: 'f32', shape: [2, 256] } as const,
    ]).flat(),
  ]
  const metadata = new Map([
    ['general.architecture', ggufValue('string', 'made')],
    ['general.alignment', ggufValue('u32', 64)],
    ['general.file_type', ggufValue('u32', 0)],
    ['made.list', ggufValue('f64', 0.1)],
  ] as const)
  const writer = await GgufWriter.create(path, { metadata, tensors, alignment: 64 })
  for (const { name, shape } of tensors) {
    const values = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i * 1.7) * 3)
    await writer.write(name, new Uint8Array(values.buffer))
  }
  await writer.finish()
  return path
}

describe('quantize', () => {
  it('writes the type asked for, and reports types, sizes and errors of every tensor', async () => {
    const folder = await temporaryFolder()
    const input = await madeFile(join(folder, 'f32.gguf'))
    const progress: ConversionProgress[] = []
    const report = await quantize(input, join(folder, 'out.gguf'), { type: 'q8_0', onProgress: (each) => progress.push(each) })
    expect(report.tensors.map(({ name, from, to }) => [name, from, to])).toEqual([
      ['token_embd.weight', 'f32', 'q8_0'],
      ['blk.0.attn_norm.weight', 'f32', 'f32'],
      ['blk.0.attn_v.weight', 'f32', 'q8_0'],
      ['blk.0.ffn_gate.weight', 'f32', 'q8_0'],
      ['blk.0.ffn_gate_inp.weight', 'f32', 'f32'],
    ])
    const [embeddings, norm] = report.tensors
    // A scale of 127 steps: at most half a step, evenly spread.
    expect(embeddings!.rmse).toBeGreaterThan(0)
    expect(embeddings!.rmse).toBeLessThan(3 / 127 / 2)
    expect(embeddings!.worstBlock.rmse).toBeGreaterThanOrEqual(embeddings!.rmse)
    expect(embeddings!.worstBlock.index).toBeLessThan((8 * 256) / 32)
    expect(norm).toMatchObject({ rmse: 0, bytes: 1024 })
    expect(report.bytesBefore).toBe(4 * (8 * 256 + 256 + 4 * 256 + 4 * 96 + 2 * 256))
    expect(report.bytesAfter).toBe(report.tensors.reduce((sum, { bytes }) => sum + bytes, 0))
    expect((await readFile(report.path)).length).toBe(report.fileBytes)
    expect(progress[0]).toMatchObject({ tensorsDone: 0, nTensors: 5, valuesDone: 0 })
    expect(progress.at(-1)).toMatchObject({ tensorsDone: 5, valuesDone: progress[0]!.nValues })
  })

  // Whole bits per value of a type, and the share of the values' root mean square that its errors stay below.
  const mostError: Readonly<Record<number, number>> = { 32: 0, 16: 0.01, 8: 0.01, 6: 0.03, 5: 0.06, 4: 0.17, 3: 0.2, 2: 0.4, 1: 0.4 }
  it.each(targetTypes())('writes %s, with errors that fit its bits', async (type) => {
    const folder = await temporaryFolder()
    const out = join(folder, 'out.gguf')
    const { tensors } = await quantize(await madeFile(join(folder, 'f32.gguf')), out, { type, pure: true })
    const [written] = tensors
    expect(written!.to).toBe(type)
    const { blockBytes, blockValues } = tensorTypes[type]
    expect(written!.rmse / written!.rms).toBeLessThanOrEqual(mostError[Math.floor((8 * blockBytes) / blockValues)]!)
    expect((await openGguf(out)).tensors.get('token_embd.weight')).toMatchObject({ type, shape: [8, 256] })
  })

  it('copies metadata and alignment, and says what the file now is', async () => {
    const folder = await temporaryFolder()
    const out = join(folder, 'out.gguf')
    await quantize(await madeFile(join(folder, 'f32.gguf')), out, { type: 'q8_0' })
    const { config, tensors } = await openGguf(out)
    expect(Object.fromEntries((config as { metadata: Map<string, unknown> }).metadata)).toEqual({
      'general.architecture': 'made',
      'general.alignment': 64,
      'made.list': 0.1,
      'general.file_type': 7,
      'general.quantization_version': 2,
    })
    for (const { offset } of tensors.values()) expect(offset % 64).toBe(0)
  })

  it('gives the same bytes for any number of threads', async () => {
    const folder = await temporaryFolder()
    const input = await madeFile(join(folder, 'f32.gguf'), 2, 300)
    const [one, four] = [join(folder, '1.gguf'), join(folder, '4.gguf')]
    await quantize(input, one, { type: 'q8_0', threads: 1 })
    await quantize(input, four, { type: 'q8_0', threads: 4 })
    expect((await readFile(one)).equals(await readFile(four))).toBe(true)
  })

  it('keeps what patterns say; the last of several counts', async () => {
    const folder = await temporaryFolder()
    const input = await madeFile(join(folder, 'f32.gguf'))
    const keep = { 'blk.*': 'f16', 'blk.0.ffn_gate': null } as const
    const { tensors } = await quantize(input, join(folder, 'out.gguf'), { type: 'q8_0', keep })
    expect(tensors.map(({ to }) => to)).toEqual(['q8_0', 'f32', 'f16', 'f32', 'f32'])
  })

  it('takes a Hugging Face folder, whose model then runs', async () => {
    const out = join(await temporaryFolder(), 'out.gguf')
    const { tensors } = await quantize(llama, out, { type: 'q8_0', keep: { output: 'f16' } })
    expect(tensors.find(({ name }) => name === 'output.weight')).toMatchObject({ to: 'f16' })
    // Rows of 36 values hold no whole block.
    expect(tensors.find(({ name }) => name === 'blk.0.ffn_down.weight')).toMatchObject({ to: 'f16', insteadOf: 'q8_0' })
    await using model = await Model.load(out)
    expect((await model.generate([1, 5, 9], { maxTokens: 3, temperature: 0 }).result()).tokens.length).toBe(3)
  })

  it('makes one file of a split checkpoint', async () => {
    const folder = await temporaryFolder()
    const parts = [1, 2].map((i) => join(folder, `in-0000${i}-of-00002.gguf`)) as [string, string]
    for (const [i, path] of parts.entries()) {
      const metadata = new Map([
        ['general.architecture', ggufValue('string', 'made')],
        ['split.no', ggufValue('u16', i)],
        ['split.count', ggufValue('u16', 2)],
      ])
      const writer = await GgufWriter.create(path, { metadata, tensors: [{ name: `part.${i}.weight`, type: 'f32', shape: [2, 32] }] })
      await writer.write(`part.${i}.weight`, new Uint8Array(new Float32Array(64).fill(i + 1).buffer))
      await writer.finish()
    }
    const out = join(folder, 'out.gguf')
    await expect(quantize(parts[0], parts[1], { type: 'f16', overwrite: true })).rejects.toThrow(code('INVALID_ARGUMENT', 'another file'))
    await quantize(parts[1], out, { type: 'f16' })
    const { tensors, files, config } = await openGguf(out)
    expect(files.length).toBe(1)
    expect([...(config as { metadata: Map<string, unknown> }).metadata.keys()].filter((key) => key.startsWith('split.'))).toEqual([])
    const values = await bytesOf(await openGguf(out), tensors.get('part.1.weight')!)
    // 2 in f16.
    expect(values.equals(Buffer.alloc(128, Buffer.of(0x00, 0x40)))).toBe(true)
  })

  it('quantizes again only if that is asked for', async () => {
    const folder = await temporaryFolder()
    const out = join(folder, 'out.gguf')
    await expect(quantize(embedded, out, { type: 'f16' })).rejects.toThrow(code('ALREADY_QUANTIZED', 'token_embd.weight'))
    expect(await readdir(folder)).toEqual([])
    const { tensors } = await quantize(embedded, out, { type: 'f16', allowRequantize: true })
    expect(tensors[0]).toMatchObject({ from: 'q8_0', to: 'f16' })
    // The same type is a copy.
    const same = join(folder, 'same.gguf')
    await quantize(embedded, same, { type: 'q8_0' })
    const [before, after] = [await openGguf(embedded), await openGguf(same)]
    for (const [name, tensor] of before.tensors)
      expect((await bytesOf(after, after.tensors.get(name)!)).equals(await bytesOf(before, tensor)), name).toBe(true)
  })

  it('refuses an output that exists, is the input, or is a folder', async () => {
    const folder = await temporaryFolder()
    const [input, other, link] = ['in.gguf', 'other.gguf', 'link.gguf'].map((name) => join(folder, name)) as [string, string, string]
    await madeFile(input)
    await copyFile(input, other)
    await symlink(input, link)
    const before = await readFile(input)
    await expect(quantize(input, other, { type: 'q8_0' })).rejects.toThrow(code('FILE_EXISTS'))
    for (const output of [input, link])
      await expect(quantize(input, output, { type: 'q8_0', overwrite: true })).rejects.toThrow(code('INVALID_ARGUMENT', 'another file than the input'))
    await mkdir(join(folder, 'taken'))
    await expect(quantize(input, join(folder, 'taken'), { type: 'q8_0', overwrite: true })).rejects.toThrow(code('FILE_UNWRITABLE', 'it is a folder'))
    expect((await readFile(input)).equals(before)).toBe(true)
    await quantize(input, other, { type: 'q8_0', overwrite: true })
    expect((await openGguf(other)).tensors.get('token_embd.weight')!.type).toBe('q8_0')
    expect((await readdir(folder)).filter((name) => name.endsWith('.partial'))).toEqual([])
  })

  it('names a weight that the type cannot hold, and leaves nothing behind', async () => {
    const folder = await temporaryFolder()
    const input = join(folder, 'in.gguf')
    const writer = await GgufWriter.create(input, {
      metadata: new Map([['general.architecture', ggufValue('string', 'made')]]),
      tensors: [{ name: 'a.weight', type: 'f32', shape: [2, 32] }],
    })
    await writer.write('a.weight', new Uint8Array(Float32Array.of(Infinity).buffer), 4 * 40)
    await writer.finish()
    await expect(quantize(input, join(folder, 'out.gguf'), { type: 'q8_0' })).rejects.toThrow(code('WEIGHT_UNENCODABLE', 'row 1, column 8'))
    expect(await readdir(folder)).toEqual(['in.gguf'])
  })

  it('ends when its signal says so, and leaves nothing behind', async () => {
    const folder = await temporaryFolder()
    const input = await madeFile(join(folder, 'in.gguf'), 10, 1000)
    const abort = new AbortController()
    const out = join(folder, 'out.gguf')
    const work = quantize(input, out, { type: 'q8_0', signal: abort.signal, threads: 1, onProgress: () => abort.abort('enough') })
    await expect(work).rejects.toThrow(code('ABORTED'))
    await work.catch((error: Error) => expect(error.cause).toBe('enough'))
    expect(await readdir(folder)).toEqual(['in.gguf'])
    await expect(quantize(input, out, { type: 'q8_0', signal: abort.signal })).rejects.toThrow(code('ABORTED'))
  })

  it("passes on what the caller's onProgress throws, after tidying up", async () => {
    const folder = await temporaryFolder()
    const input = await madeFile(join(folder, 'in.gguf'), 4, 500)
    const onProgress = () => {
      throw new Error('mine')
    }
    await expect(quantize(input, join(folder, 'out.gguf'), { type: 'q8_0', onProgress })).rejects.toThrow('mine')
    expect(existsSync(join(folder, 'out.gguf.partial'))).toBe(false)
  })

  it('leaves the event loop free', async () => {
    const folder = await temporaryFolder()
    const input = await madeFile(join(folder, 'in.gguf'), 5, 2000)
    await quantize(input, join(folder, 'warm.gguf'), { type: 'q8_0' })
    const delay = monitorEventLoopDelay({ resolution: 1 })
    delay.enable()
    await quantize(input, join(folder, 'out.gguf'), { type: 'q8_0' })
    delay.disable()
    // Starting a thread takes a few ms of this one; a tensor encoded on it would take far longer.
    expect(delay.percentile(95) / 1e6).toBeLessThan(25)
  })

  it.each([
    [{}, 'type: expected one of f32'],
    [{ type: 'q4_k_m' }, 'received "q4_k_m"'],
    [{ type: 'q8_0', keep: { nothing: 'f16' } }, 'patterns that match'],
    [{ type: 'q8_0', keep: { output: 'q9' } }, 'keep: expected'],
    [{ type: 'q8_0', threads: 0 }, 'threads: expected'],
  ])('answers %j with what is wrong', async (options, text) => {
    const folder = await temporaryFolder()
    await expect(quantize(llama, join(folder, 'out.gguf'), options as never)).rejects.toThrow(code('INVALID_ARGUMENT', text))
    expect(await readdir(folder)).toEqual([])
  })

  it('knows options by their names', async () => {
    await expect(quantize(llama, 'x', { type: 'q8_0', puer: true } as never)).rejects.toThrow(code('UNKNOWN_OPTION', '"pure"'))
    await expect(quantize('', 'x', { type: 'q8_0' })).rejects.toThrow(code('INVALID_ARGUMENT', 'input'))
    await expect(quantize('no such file', 'x', { type: 'q8_0' })).rejects.toThrow(code('FILE_UNREADABLE', 'does not exist'))
  })
})

describe('convert', () => {
  it('keeps the types of the folder unless asked for another', async () => {
    const folder = await temporaryFolder()
    const kept = await convert(llama, join(folder, 'kept.gguf'))
    expect(new Set(kept.tensors.map(({ to }) => to))).toEqual(new Set(['f32']))
    const half = await convert(llama, join(folder, 'half.gguf'), { type: 'bf16' })
    expect(half.tensors.map(({ shape, to }) => [shape.length, to])).toEqual(
      half.tensors.map(({ shape }) => [shape.length, shape.length > 1 ? 'bf16' : 'f32']),
    )
    expect(half.bytesAfter).toBeLessThan(kept.bytesAfter)
  })

  it('takes folders only', async () => {
    await expect(convert(embedded, 'x.gguf')).rejects.toThrow(code('INVALID_ARGUMENT', 'a Hugging Face folder'))
  })

  it('writes tokenizer, chat template and defaults: the model of the file does what that of the folder does', async () => {
    const folder = await temporaryFolder()
    const source = join(folder, 'hf')
    await mkdir(source)
    const made = join(import.meta.dirname, 'fixtures/tokenizers/made/gpt2')
    await copyFile(join(made, 'tokenizer.json'), join(source, 'tokenizer.json'))
    await writeFile(join(source, 'tokenizer_config.json'), JSON.stringify({ eos_token: '<|im_end|>', chat_template: 'C {{ messages }}' }))
    await writeFile(join(source, 'generation_config.json'), JSON.stringify({ temperature: 0.5, top_k: 7, eos_token_id: [2, 0] }))
    await copyFile(join(llama, 'model.safetensors'), join(source, 'model.safetensors'))
    await copyFile(join(llama, 'config.json'), join(source, 'config.json'))
    const out = join(folder, 'out.gguf')
    const { remarks } = await convert(source, out)
    // The golden has 96 embeddings, the tokenizer 1,500 tokens.
    expect(remarks.join()).toContain('1404 tokens beyond the 96')
    const [before, after] = [await openCheckpoint(source), await openCheckpoint(out)]
    expect(after.chatTemplate).toBe(before.chatTemplate)
    expect(after.generation).toMatchObject({ temperature: 0.5, topK: 7 })
    expect([...after.generation.eosTokenIds].sort()).toEqual([...before.generation.eosTokenIds].sort())
  })
})

describe('the choice of types', () => {
  const tensor = (name: string, shape: readonly number[], from: TensorToType['from'] = 'f16'): TensorToType => ({ name, shape, from })
  const of = (names: readonly TensorToType[], type: keyof typeof fileTypes, more: Partial<Parameters<typeof chooseTypes>[1]> = {}) =>
    chooseTypes(names, { type, pure: false, keep: [], ...more }).map(({ type }) => type)
  const layer = [
    tensor('token_embd.weight', [1000, 512]),
    tensor('blk.0.attn_q.weight', [512, 512]),
    tensor('blk.0.attn_v.weight', [128, 512]),
    tensor('blk.0.ffn_down.weight', [512, 1024]),
    tensor('output.weight', [1000, 512]),
  ]

  it.each([
    ['q8_0', ['q8_0', 'q8_0', 'q8_0', 'q8_0', 'q8_0']],
    ['q6_k', ['q6_k', 'q6_k', 'q6_k', 'q6_k', 'q6_k']],
    ['q5_k', ['q6_k', 'q5_k', 'q6_k', 'q6_k', 'q6_k']],
    ['q4_k', ['q6_k', 'q4_k', 'q5_k', 'q5_k', 'q6_k']],
    ['q2_k', ['q6_k', 'q2_k', 'q3_k', 'q3_k', 'q6_k']],
    ['q4_0', ['q6_k', 'q4_0', 'q4_0', 'q4_0', 'q6_k']],
    ['f16', ['f16', 'f16', 'f16', 'f16', 'f16']],
  ] as const)('mixes for %s as documented', (type, expected) => {
    expect(of(layer, type)).toEqual(expected)
    expect(of(layer, type, { pure: true })).toEqual(Array(5).fill(type))
  })

  it.each([
    ['q4_k', 96, 'q5_0'],
    ['q5_k', 96, 'q5_1'],
    ['q6_k', 96, 'q8_0'],
    ['q3_k', 96, 'q4_0'],
    ['q2_k', 96, 'q4_0'],
    ['iq4_xs', 96, 'iq4_nl'],
    ['q4_k', 40, 'f16'],
    ['q8_0', 40, 'f16'],
  ] as const)('falls back from %s for rows of %i values to %s', (type, rowLength, expected) => {
    const [choice] = chooseTypes([tensor('blk.0.attn_q.weight', [4, rowLength])], { type, pure: false, keep: [] })
    expect(choice).toEqual({ type: expected, insteadOf: type })
  })

  it('leaves vectors, routers, positions and indices alone', () => {
    const others = [
      tensor('blk.0.attn_q.bias', [64], 'bf16'),
      tensor('blk.0.ffn_gate_inp.weight', [8, 512], 'f32'),
      tensor('position_embd.weight', [32, 512], 'f16'),
      tensor('rope_freqs.weight', [32], 'f32'),
      tensor('table.weight', [4, 32], 'i32'),
    ]
    expect(of(others, 'q8_0')).toEqual(['f32', 'f32', 'f32', 'f32', 'i32'])
  })

  it('has a number for every type that can be written', () => {
    for (const type of targetTypes()) expect(fileTypes[type], type).toBeTypeOf('number')
  })
})
