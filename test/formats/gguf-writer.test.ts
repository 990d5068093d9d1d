/** GGUF files that are written come back as they were meant, all of them or nothing. */
import { existsSync } from 'node:fs'
import { chmod, type FileHandle, mkdir, open, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { GgufArrayRange } from '../../src/formats/checkpoint.js'
import { openGguf } from '../../src/formats/gguf.js'
import { ggufArray, ggufValue, GgufWriter, type GgufWriterContent } from '../../src/formats/gguf-writer.js'
import { bytesOf, temporaryFolder } from '../support/checkpoints.js'

const architecture = ['general.architecture', ggufValue('string', 'llama')] as const
const content = (more: Partial<GgufWriterContent> = {}): GgufWriterContent => ({
  metadata: new Map([architecture]),
  tensors: [
    { name: 'token_embd.weight', type: 'q8_0', shape: [3, 64] },
    { name: 'output_norm.weight', type: 'f32', shape: [5] },
    { name: 'blk.0.ffn_gate_exps.weight', type: 'f16', shape: [2, 3, 4] },
  ],
  ...more,
})
const code = (code: string, text = '') => expect.objectContaining({ name: 'InfernodeError', code, message: expect.stringContaining(text) })

describe('GgufWriter', () => {
  it('writes metadata of every type', async () => {
    const path = join(await temporaryFolder(), 'a.gguf')
    const values = {
      u8: 200,
      i8: -3,
      u16: 60_000,
      i16: -3,
      u32: 4_000_000_000,
      i32: -3,
      f32: 0.5,
      bool: true,
      string: 'grüße 🙂',
      u64: 2n ** 63n,
      i64: -5,
      f64: 0.1,
    } as const
    const metadata = new Map<string, ReturnType<typeof ggufValue>>([architecture])
    for (const [type, value] of Object.entries(values)) metadata.set(`one.${type}`, ggufValue(type as 'u8', value))
    metadata.set('many.string', ggufArray('string', ['', 'ab', 'ü']))
    metadata.set('many.f32', ggufArray('f32', [1, -2]))
    metadata.set('long', ggufArray('string', Array.from({ length: 2000 }, (_, i) => `piece ${i}`)))
    await (await GgufWriter.create(path, { metadata, tensors: [] })).finish()
    const found = (await openGguf(path)).config as { metadata: ReadonlyMap<string, unknown> }
    for (const [type, value] of Object.entries(values)) expect(found.metadata.get(`one.${type}`), type).toBe(value)
    expect(found.metadata.get('many.string')).toEqual(['', 'ab', 'ü'])
    expect(found.metadata.get('many.f32')).toEqual([1, -2])
    expect((found.metadata.get('long') as GgufArrayRange).count).toBe(2000)
  })

  it.each([32, 64, 4096])('places tensors at multiples of %i bytes, up to the last one\'s padding', async (alignment) => {
    const path = join(await temporaryFolder(), 'a.gguf')
    const metadata = new Map([architecture, ['general.alignment', ggufValue('u32', alignment)] as const])
    const writer = await GgufWriter.create(path, content({ metadata, alignment }))
    // In another order than in the file, and in parts.
    await writer.write('output_norm.weight', new Uint8Array(Float32Array.of(1, 2, 3).buffer))
    await writer.write('output_norm.weight', new Uint8Array(Float32Array.of(4, 5).buffer), 12)
    await writer.write('token_embd.weight', new Uint8Array(204).fill(7))
    await writer.finish()
    const checkpoint = await openGguf(path)
    const [embeddings, norm, experts] = [...checkpoint.tensors.values()]
    expect([embeddings!.shape, norm!.shape, experts!.shape]).toEqual([[3, 64], [5], [2, 3, 4]])
    for (const { offset, sourceName } of [embeddings!, norm!, experts!]) {
      expect(offset % alignment).toBe(0)
      expect(offset).toBe(writer.offsetOf(sourceName))
    }
    expect(await bytesOf(checkpoint, embeddings!)).toEqual(Buffer.alloc(204, 7))
    expect(new Float32Array(new Uint8Array(await bytesOf(checkpoint, norm!)).buffer)).toEqual(Float32Array.of(1, 2, 3, 4, 5))
    expect(await bytesOf(checkpoint, experts!)).toEqual(Buffer.alloc(48))
    expect((await readFile(path)).length).toBe(writer.bytes)
    expect(writer.bytes % alignment).toBe(0)
  })

  it('keeps a file that exists until the new one is complete', async () => {
    const folder = await temporaryFolder()
    const path = join(folder, 'a.gguf')
    await writeFile(path, 'old')
    const writer = await GgufWriter.create(path, content())
    expect(await readFile(path, 'utf8')).toBe('old')
    expect(await readdir(folder)).toEqual(['a.gguf', 'a.gguf.partial'])
    await writer.finish()
    expect((await openGguf(path)).tensors.size).toBe(3)
    expect(await readdir(folder)).toEqual(['a.gguf'])
  })

  it('leaves nothing behind when it is aborted', async () => {
    const folder = await temporaryFolder()
    await (await GgufWriter.create(join(folder, 'a.gguf'), content())).abort()
    expect(await readdir(folder)).toEqual([])
  })

  it('begins anew where another process was killed', async () => {
    const folder = await temporaryFolder()
    const path = join(folder, 'a.gguf')
    await writeFile(`${path}.partial`, Buffer.alloc(100_000, 1))
    const writer = await GgufWriter.create(path, content())
    await writer.finish()
    expect((await readFile(path)).length).toBe(writer.bytes)
    expect(await readdir(folder)).toEqual(['a.gguf'])
  })

  it('gives way to another that began later', async () => {
    const path = join(await temporaryFolder(), 'a.gguf')
    const first = await GgufWriter.create(path, content())
    const second = await GgufWriter.create(path, content())
    await expect(first.finish()).rejects.toThrow(code('FILE_UNWRITABLE', 'another process'))
    expect(existsSync(second.partialPath)).toBe(true)
    await second.finish()
    expect((await openGguf(path)).tensors.size).toBe(3)
  })

  it('says why a file cannot be written', async () => {
    const folder = await temporaryFolder()
    await expect(GgufWriter.create(join(folder, 'no', 'a.gguf'), content())).rejects.toThrow(code('FILE_UNWRITABLE', 'folder does not exist'))
    await mkdir(join(folder, 'taken'))
    const onto = await GgufWriter.create(join(folder, 'taken'), content())
    await expect(onto.finish()).rejects.toThrow(code('FILE_UNWRITABLE', 'taken'))
    expect(await readdir(folder)).toEqual(['taken'])
    // Root may write everywhere.
    if (process.getuid?.() === 0) return
    await chmod(folder, 0o500)
    await expect(GgufWriter.create(join(folder, 'a.gguf'), content())).rejects.toThrow(code('FILE_UNWRITABLE', 'permission denied'))
  })

  it.skipIf(!existsSync('/dev/full'))('says that a disk is full', async () => {
    const writer = await GgufWriter.create(join(await temporaryFolder(), 'a.gguf'), content())
    // A quota of file size would end the process; /dev/full fails as a full disk does.
    const { handle } = writer as unknown as { handle: FileHandle }
    onTestFinished(() => handle.close())
    Object.assign(writer, { handle: await open('/dev/full', 'w') })
    await expect(writer.write('output_norm.weight', new Uint8Array(20))).rejects.toThrow(code('FILE_UNWRITABLE', 'the disk is full'))
    await writer.abort()
  })
})
