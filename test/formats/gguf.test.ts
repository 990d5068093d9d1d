import { rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Checkpoint } from '../../src/formats/checkpoint.js'
import { openCheckpoint } from '../../src/formats/index.js'
import { rowBytes } from '../../src/tensor-types.js'
import { bytesOf, fixture, temporaryFile, temporaryFolder, testModel } from '../support/checkpoints.js'
import { array, value, writeGguf, type GgufWriterFile, type GgufWriterMetadata } from '../support/gguf-writer.js'

const llama = (extra: GgufWriterMetadata = {}): GgufWriterMetadata => ({
  'general.architecture': value('string', 'llama'),
  ...(extra as object),
})

const openGguf = async (file: GgufWriterFile): Promise<Checkpoint> =>
  openCheckpoint(await temporaryFile('model.gguf', writeGguf(file).bytes))

describe('GGUF files of tiny models', () => {
  it('lists llama with Hugging Face names, row-major shapes and interleaved rope', async () => {
    const path = fixture('gguf/llama/model.gguf')
    const checkpoint = await openCheckpoint(path)
    expect(checkpoint).toMatchObject({ format: 'gguf', path, name: 'tiny random model', modelType: 'llama' })
    expect(checkpoint.conventions).toEqual({ ropePairing: 'interleaved' })
    expect(checkpoint.tensors.size).toBe(21)
    const layer = (i: number) =>
      ['input_layernorm', 'post_attention_layernorm', 'mlp.gate_proj', 'mlp.up_proj', 'mlp.down_proj']
        .concat(['q', 'k', 'v', 'o'].map((name) => `self_attn.${name}_proj`))
        .map((name) => `model.layers.${i}.${name}.weight`)
    expect([...checkpoint.tensors.keys()].sort()).toEqual(
      ['model.embed_tokens.weight', 'model.norm.weight', 'lm_head.weight', ...layer(0), ...layer(1)].sort(),
    )
    expect(checkpoint.tensors.get('model.layers.1.mlp.down_proj.weight')).toMatchObject({
      sourceName: 'blk.1.ffn_down.weight',
      type: 'f32',
      shape: [32, 36],
      file: 0,
      bytes: 32 * 36 * 4,
    })
    expect(checkpoint.tensors.get('model.norm.weight')).toMatchObject({ shape: [32] })
    expect(checkpoint.config).toMatchObject({ from: 'gguf', path })
    if (checkpoint.config.from !== 'gguf') return
    expect(checkpoint.config.metadata.get('llama.attention.head_count')).toBe(4)
    expect(checkpoint.config.metadata.get('llama.attention.layer_norm_rms_epsilon')).toBeCloseTo(0.001)
    expect(checkpoint.generation).toEqual({ eosTokenIds: [2] })
    expect(checkpoint.chatTemplate).toBeNull()
  })

  it('hands the vocabulary down as byte ranges, short ones too', async () => {
    const checkpoint = await openCheckpoint(fixture('gguf/llama/model.gguf'))
    const source = checkpoint.tokenizer
    if (source?.from !== 'gguf') throw new Error('no tokenizer')
    expect([source.tokens.count, source.scores?.count, source.types?.count, source.merges]).toEqual([288, 288, 288, null])
    expect([source.scores?.bytes, source.types?.bytes]).toEqual([288 * 4, 288 * 4])
    expect([...source.metadata.keys()]).not.toContain('tokenizer.ggml.tokens')
    expect(source.metadata.get('tokenizer.ggml.model')).toBe('llama')
    expect(source.metadata.get('tokenizer.ggml.add_bos_token')).toBe(true)
    const bytes = await bytesOf(checkpoint, { file: 0, ...source.tokens })
    const tokens: string[] = []
    for (let at = 0; at < bytes.length;) {
      const length = Number(bytes.readBigUInt64LE(at))
      tokens.push(bytes.toString('utf8', at + 8, at + 8 + length))
      at += 8 + length
    }
    expect(tokens.length).toBe(288)
    expect(tokens.slice(0, 4)).toEqual(['<unk>', '<s>', '</s>', '<0x00>'])
  })

  it('keeps rope_freqs under its own name', async () => {
    const { tensors } = await openCheckpoint(fixture('gguf/llama_rope_llama3/model.gguf'))
    expect(tensors.get('rope_freqs.weight')).toMatchObject({ type: 'f32', shape: [8] })
  })

  it('maps the norms of gemma3, rotates halves and adds nothing', async () => {
    const checkpoint = await openCheckpoint(fixture('gguf/gemma3_text/model.gguf'))
    expect(checkpoint.modelType).toBe('gemma3')
    expect(checkpoint.conventions).toEqual({ ropePairing: 'half' })
    const names = (stem: string) => checkpoint.tensors.get(`model.layers.0.${stem}.weight`)?.sourceName
    expect(names('input_layernorm')).toBe('blk.0.attn_norm.weight')
    expect(names('post_attention_layernorm')).toBe('blk.0.post_attention_norm.weight')
    expect(names('pre_feedforward_layernorm')).toBe('blk.0.ffn_norm.weight')
    expect(names('post_feedforward_layernorm')).toBe('blk.0.post_ffw_norm.weight')
    expect(names('self_attn.q_norm')).toBe('blk.0.attn_q_norm.weight')
    expect(names('self_attn.k_norm')).toBe('blk.0.attn_k_norm.weight')
    expect([...checkpoint.tensors.keys()].filter((name) => !name.startsWith('model.'))).toEqual([])
    expect([...checkpoint.tensors.values()].filter(({ add }) => add !== undefined)).toEqual([])
  })

  it('measures quantized rows in blocks', async () => {
    const { tensors } = await openCheckpoint(fixture('gguf/llama_mixed_quants/model.gguf'))
    const quantized = [...tensors.values()].filter(({ type }) => type.startsWith('q'))
    expect(quantized.length).toBeGreaterThan(0)
    for (const { type, shape, bytes } of quantized) expect(bytes).toBe(shape[0]! * rowBytes(type, shape[1]!))
  })

  it('opens a family without a row in the table, with the names of the file and no conventions', async () => {
    for (const name of ['bert', 'constructor']) {
      const metadata = { 'general.architecture': value('string', name) }
      const checkpoint = await openGguf({ metadata, tensors: [{ name: 'blk.0.attn_q.weight', dims: [8, 8] }] })
      expect(checkpoint).toMatchObject({ modelType: name, conventions: null })
      expect([...checkpoint.tensors.keys()]).toEqual(['blk.0.attn_q.weight'])
    }
  })

  it('keeps names that its family does not have', async () => {
    const names = [
      'blk.0.ffn_gate.0.weight',
      'blk.00.attn_q.weight',
      'blk.0.attn_q',
      'attn_q.weight',
      'blk.0.constructor.weight',
    ]
    const { tensors } = await openGguf({ metadata: llama(), tensors: names.map((name) => ({ name, dims: [8, 8] })) })
    expect([...tensors.keys()]).toEqual(names)
  })
})

describe('fairytale, from GGUF and from its Hugging Face folder', () => {
  const gguf = testModel('fairytale/fairytale-f32.gguf', 'the comparison of GGUF bytes with Hugging Face bytes')
  const folder = testModel('fairytale/hf', 'the comparison of GGUF bytes with Hugging Face bytes')

  it.skipIf(!gguf || !folder)('has the same tensors, with the rows of q and k permuted', async () => {
    const [ours, theirs] = [await openCheckpoint(gguf!), await openCheckpoint(folder!)]
    expect([...ours.tensors.keys()].sort()).toEqual([...theirs.tensors.keys()].sort())
    expect([ours.conventions?.ropePairing, theirs.conventions?.ropePairing]).toEqual(['interleaved', 'half'])
    expect([ours.generation.eosTokenIds, theirs.generation.eosTokenIds]).toEqual([[0], [0]])
    expect(theirs.generation).toMatchObject({ temperature: 0.8, topP: 0.95 })
    const headDim = 32
    for (const [name, tensor] of theirs.tensors) {
      const other = ours.tensors.get(name)!
      expect([other.shape, other.type]).toEqual([tensor.shape, tensor.type])
      const [expected, found] = [await bytesOf(theirs, tensor), await bytesOf(ours, other)]
      if (!/\.[qk]_proj\./.test(name)) expect(found.equals(expected), name).toBe(true)
      else {
        const rowLength = tensor.bytes / tensor.shape[0]!
        const row = (bytes: Buffer, r: number) => bytes.subarray(r * rowLength, (r + 1) * rowLength)
        // Interleaved pair (2i, 2i + 1) of a head is the pair (i, i + headDim / 2) of halves.
        for (let r = 0; r < tensor.shape[0]!; r++) {
          const [head, i] = [Math.floor(r / headDim) * headDim, r % headDim]
          const from = head + Math.floor(i / 2) + (i % 2) * (headDim / 2)
          expect(row(found, r).equals(row(expected, from)), `${name} row ${r}`).toBe(true)
        }
      }
    }
  })
})

/** The longest time in ms for which the event loop did nothing else while `work` ran. */
async function longestTurn(work: () => Promise<unknown>): Promise<number> {
  let [longest, last, running] = [0, performance.now(), true]
  const turn = (): void => {
    const now = performance.now()
    longest = Math.max(longest, now - last)
    last = now
    if (running) setImmediate(turn)
  }
  turn()
  await work()
  running = false
  return Math.max(longest, performance.now() - last)
}

describe('Gemma 3 270M', () => {
  const path = testModel('gemma3-270m/gemma-3-270m.gguf', 'the header of a real checkpoint with 262,144 tokens')

  it.skipIf(!path)('reads 5.5 MB of header without holding the event loop', async () => {
    // The best of three: other processes of the machine can hold the loop as well.
    let best = Infinity
    for (let i = 0; i < 3; i++) best = Math.min(best, await longestTurn(() => openCheckpoint(path!)))
    expect(best).toBeLessThan(50)
    const checkpoint = await openCheckpoint(path!)
    const source = checkpoint.tokenizer
    if (source?.from !== 'gguf') throw new Error('no tokenizer')
    expect([source.tokens.count, source.scores?.count, source.types?.count]).toEqual([262_144, 262_144, 262_144])
    expect(checkpoint.tensors.size).toBe(236)
    expect(checkpoint.tensors.get('model.embed_tokens.weight')).toMatchObject({ type: 'q4_0', shape: [262_144, 640] })
    expect(checkpoint.generation.eosTokenIds).toEqual([1])
    const scores = await bytesOf(checkpoint, { file: 0, ...source.scores! })
    expect(scores.readFloatLE(0)).toBe(-1000)
  })
})

describe('metadata', () => {
  it('decodes every type of value', async () => {
    const checkpoint = await openGguf({
      version: 2,
      metadata: llama({
        'a.u8': value('u8', 200),
        'a.i8': value('i8', -3),
        'a.u16': value('u16', 65_535),
        'a.i16': value('i16', -300),
        'a.u32': value('u32', 4_000_000_000),
        'a.i32': value('i32', -4),
        'a.f32': value('f32', 0.5),
        'a.bool': value('bool', true),
        'a.string': value('string', 'ä𝄞'),
        'a.empty': value('string', ''),
        'a.u64': value('u64', 2n ** 64n - 1n),
        'a.u64.small': value('u64', 2n ** 53n - 1n),
        'a.i64': value('i64', -7),
        'a.f64': value('f64', Math.PI),
        'a.array': array('i32', [1, -2]),
        'a.bools': array('bool', [true, false]),
        'a.strings': array('string', ['x', '']),
        'a.none': array('f32', []),
      }),
    })
    if (checkpoint.config.from !== 'gguf') throw new Error('not from GGUF')
    expect(Object.fromEntries(checkpoint.config.metadata)).toEqual({
      'general.architecture': 'llama',
      'a.u8': 200,
      'a.i8': -3,
      'a.u16': 65_535,
      'a.i16': -300,
      'a.u32': 4_000_000_000,
      'a.i32': -4,
      'a.f32': 0.5,
      'a.bool': true,
      'a.string': 'ä𝄞',
      'a.empty': '',
      'a.u64': 2n ** 64n - 1n,
      'a.u64.small': Number.MAX_SAFE_INTEGER,
      'a.i64': -7,
      'a.f64': Math.PI,
      'a.array': [1, -2],
      'a.bools': [true, false],
      'a.strings': ['x', ''],
      'a.none': [],
    })
  })

  it('keeps long arrays and very long strings as byte ranges, whatever chunk they end in', async () => {
    for (const length of [1025, 10_000, 40_000]) {
      const strings = Array.from({ length }, (_, i) => 'x'.repeat(i % 23))
      const text = 'y'.repeat((1 << 20) + 1)
      const checkpoint = await openGguf({
        metadata: llama({
          strings: array('string', strings),
          numbers: array(
            'u16',
            strings.map((_, i) => i),
          ),
          text: value('string', text),
          after: value('u8', 7),
        }),
        tensors: [{ name: 'output_norm.weight', dims: [4] }],
      })
      if (checkpoint.config.from !== 'gguf') throw new Error('not from GGUF')
      const { metadata } = checkpoint.config
      const bytes = strings.reduce((sum, string) => sum + 8 + string.length, 0)
      expect(metadata.get('strings')).toMatchObject({ count: length, bytes })
      expect(metadata.get('numbers')).toMatchObject({ count: length, bytes: length * 2 })
      expect(metadata.get('text')).toMatchObject({ count: 1, bytes: 8 + text.length })
      expect(metadata.get('after')).toBe(7)
      expect(checkpoint.tensors.has('model.norm.weight')).toBe(true)
    }
  })

  it('collects ids that end a text, and sampling defaults', async () => {
    const { generation } = await openGguf({
      metadata: llama({
        'tokenizer.ggml.eos_token_id': value('u32', 2),
        'tokenizer.ggml.eot_token_id': value('u32', 9),
        'tokenizer.ggml.eom_token_id': value('u32', 2),
        'general.sampling.temp': value('f32', 0.5),
        'general.sampling.top_k': value('i32', 40),
        'general.sampling.top_p': value('f32', 0.75),
        'general.sampling.min_p': value('f32', 0.25),
        'general.sampling.penalty_repeat': value('f32', 1.5),
      }),
    })
    expect(generation).toEqual({
      temperature: 0.5,
      topK: 40,
      topP: 0.75,
      minP: 0.25,
      repetitionPenalty: 1.5,
      eosTokenIds: [2, 9],
    })
  })

  it('ignores ids that no token has', async () => {
    const { generation } = await openGguf({
      metadata: llama({
        'tokenizer.ggml.tokens': array('string', ['a', 'b', 'c']),
        'tokenizer.ggml.eos_token_id': value('u32', 2),
        'tokenizer.ggml.eot_token_id': value('u32', 4_294_967_295),
        'tokenizer.ggml.eom_token_id': value('u32', 3),
      }),
    })
    expect(generation).toEqual({ eosTokenIds: [2] })
  })

  it('tells adapters and others from models', async () => {
    for (const type of ['adapter', 'imatrix', 'mmproj']) {
      const opened = openGguf({ metadata: llama({ 'general.type': value('string', type) }) })
      await expect(opened).rejects.toMatchObject({ code: 'FORMAT_UNSUPPORTED' })
    }
    expect((await openGguf({ metadata: llama({ 'general.type': value('string', 'model') }) })).modelType).toBe('llama')
  })

  it('reads the chat template', async () => {
    const text = '{{ messages }}'.repeat(8000)
    expect((await openGguf({ metadata: llama({ 'tokenizer.chat_template': value('string', text) }) })).chatTemplate).toBe(text)
  })

  it('rejects a vocabulary whose parts do not fit together', async () => {
    const tokens = array('string', ['a', 'b'])
    const bad: GgufWriterMetadata[] = [
      { 'tokenizer.ggml.tokens': tokens, 'tokenizer.ggml.scores': array('f32', [1]) },
      { 'tokenizer.ggml.tokens': tokens, 'tokenizer.ggml.scores': array('i32', [1, 2]) },
      { 'tokenizer.ggml.tokens': tokens, 'tokenizer.ggml.token_type': array('i32', [1, 2, 3]) },
      { 'tokenizer.ggml.tokens': array('u32', [1]) },
      { 'tokenizer.ggml.tokens': tokens, 'tokenizer.ggml.merges': value('string', 'a b') },
      { 'general.name': value('u32', 1) },
      { 'tokenizer.ggml.eos_token_id': value('i32', -1) },
      { 'general.sampling.temp': value('f32', NaN) },
      { 'general.sampling.temp': value('f32', -1) },
      { 'general.sampling.top_k': value('f32', 1.5) },
      { 'general.sampling.top_p': value('string', 'all') },
    ]
    for (const metadata of bad)
      await expect(openGguf({ metadata: llama(metadata) })).rejects.toMatchObject({ code: 'FILE_CORRUPT' })
  })

  it('rejects a file without an architecture', async () => {
    await expect(openGguf({ metadata: {} })).rejects.toThrow(/general\.architecture/)
  })

  it('places tensors by the alignment that the file states', async () => {
    for (const alignment of [8, 256, 4096]) {
      const tensors = [1, 2, 3].map((i) => ({
        name: `t${i}`,
        dims: [3],
        data: new Uint8Array(Float32Array.of(i, i, i).buffer),
      }))
      const metadata = llama({ 'general.alignment': value('u32', alignment) })
      const checkpoint = await openGguf({ alignment, metadata, tensors })
      for (const i of [1, 2, 3]) {
        const tensor = checkpoint.tensors.get(`t${i}`)!
        expect(tensor.offset % alignment).toBe(0)
        expect((await bytesOf(checkpoint, tensor)).readFloatLE(8)).toBe(i)
      }
    }
  })
})

describe('split files', () => {
  const shard = (no: number, count: number, total: number, tensors: string[], extra: GgufWriterMetadata = {}) =>
    writeGguf({
      metadata: {
        ...(extra as object),
        'split.no': value('u16', no),
        'split.count': value('u16', count),
        'split.tensors.count': value('i32', total),
      },
      tensors: tensors.map((name) => ({ name, dims: [8], data: new Uint8Array(32).fill(no + 1) })),
    }).bytes

  async function writeSplit(): Promise<string[]> {
    const folder = await temporaryFolder()
    const paths = [1, 2, 3].map((i) => join(folder, `tiny-0000${i}-of-00003.gguf`))
    await writeFile(paths[0]!, shard(0, 3, 3, [], llama({ 'general.name': value('string', 'tiny') })))
    await writeFile(paths[1]!, shard(1, 3, 3, ['token_embd.weight', 'output_norm.weight']))
    await writeFile(paths[2]!, shard(2, 3, 3, ['output.weight']))
    return paths
  }

  it('opens all of them given any', async () => {
    const paths = await writeSplit()
    for (const path of paths) {
      const checkpoint = await openCheckpoint(path)
      expect(checkpoint).toMatchObject({ path, name: 'tiny', modelType: 'llama' })
      expect(checkpoint.files.map((file) => file.path)).toEqual(paths)
      expect([...checkpoint.tensors.values()].map(({ name, file }) => [name, file])).toEqual([
        ['model.embed_tokens.weight', 1],
        ['model.norm.weight', 1],
        ['lm_head.weight', 2],
      ])
      expect((await bytesOf(checkpoint, checkpoint.tensors.get('lm_head.weight')!))[0]).toBe(3)
    }
  })

  it('names the file that is missing', async () => {
    const paths = await writeSplit()
    await rm(paths[1]!)
    const opened = openCheckpoint(paths[2]!)
    await expect(opened).rejects.toMatchObject({ code: 'FILE_UNREADABLE' })
    await expect(opened).rejects.toThrow(/tiny-00002-of-00003\.gguf.*file 2 of 3/)
  })

  it('asks for the name by which the others are found', async () => {
    const paths = await writeSplit()
    const renamed = join(paths[0]!, '../first.gguf')
    await rename(paths[0]!, renamed)
    await expect(openCheckpoint(renamed)).rejects.toThrow(/must end in -00001-of-00003\.gguf/)
  })

  it('rejects files that do not belong together', async () => {
    const cases: [Buffer, RegExp][] = [
      [shard(0, 3, 3, ['output.weight']), /split\.no.*0, expected 2/],
      [shard(2, 4, 3, ['output.weight']), /split\.count.*4, expected 3/],
      [shard(2, 3, 3, ['output.weight', 'another']), /split\.tensors\.count/],
      [shard(2, 3, 3, ['output_norm.weight']), /the same tensor as "output_norm\.weight"/],
      [shard(2, 3, 3, ['model.norm.weight']), /the same tensor as "output_norm\.weight"/],
    ]
    for (const [bytes, message] of cases) {
      const paths = await writeSplit()
      await writeFile(paths[2]!, bytes)
      await expect(openCheckpoint(paths[0]!)).rejects.toThrow(message)
    }
    const paths = await writeSplit()
    await writeFile(paths[0]!, shard(3, 3, 3, []))
    await expect(openCheckpoint(paths[0]!)).rejects.toThrow(/split\.no.*3, but split\.count is 3/)
  })
})
