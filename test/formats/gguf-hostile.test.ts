import { truncate, writeFile } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { errorCodes, type ErrorCode } from '../../src/errors.js'
import { openCheckpoint } from '../../src/formats/index.js'
import { temporaryFile } from '../support/checkpoints.js'
import {
  array,
  stringBytes,
  u32Bytes,
  u64Bytes,
  value,
  writeGguf,
  type GgufWriterFile,
  type GgufWriterTensor,
} from '../support/gguf-writer.js'

const architecture = { 'general.architecture': value('string', 'llama') }

/** Everything that a header can have, once. */
const whole: GgufWriterFile = {
  metadata: {
    ...architecture,
    'general.name': value('string', 'tiny'),
    'llama.block_count': value('u32', 1),
    'llama.rope.freq_base': value('f32', 10_000),
    'general.alignment': value('u32', 64),
    'tokenizer.ggml.tokens': array('string', ['a', 'bc', '']),
    'tokenizer.ggml.scores': array('f32', [0, -1, -2]),
    'tokenizer.ggml.add_bos_token': value('bool', false),
    'a.u64': value('u64', 2n ** 60n),
  },
  alignment: 64,
  tensors: [
    { name: 'token_embd.weight', type: 'q4_0', dims: [64, 3] },
    { name: 'blk.0.ffn_up.weight', type: 'q4_k', dims: [256, 2, 1, 1] },
    { name: 'output_norm.weight', dims: [64] },
  ],
}

async function errorOf(bytes: Uint8Array): Promise<{ code: ErrorCode; message: string }> {
  const path = await temporaryFile('model.gguf', bytes)
  return openCheckpoint(path).then(
    () => Promise.reject(new Error('the file opened')),
    (error: { code: ErrorCode; message: string }) => error,
  )
}

const tensor = (overrides: Partial<GgufWriterTensor>): Uint8Array =>
  writeGguf({ metadata: architecture, tensors: [{ name: 't', dims: [32], data: new Uint8Array(256), ...overrides }] }).bytes

const metadata = (...entries: (readonly [string, { type: number; bytes: Uint8Array }])[]): Uint8Array =>
  writeGguf({ metadata: [...Object.entries(architecture), ...entries] }).bytes

describe('a GGUF file cut short', () => {
  it('tells at every byte of its header how many bytes are missing', async () => {
    const { bytes, borders, dataStart } = writeGguf(whole)
    const path = await temporaryFile('model.gguf', bytes)
    await openCheckpoint(path)
    for (let length = bytes.length - 1; length >= 4; length--) {
      if (length > dataStart && length % 50 !== 0) continue
      await truncate(path, length)
      const error = await openCheckpoint(path).catch((error: unknown) => error as Error & { code: string })
      expect(error, `${length} bytes`).toMatchObject({ code: 'FILE_CORRUPT' })
      // A count that needs more than the file has is found first, and says so in other words.
      expect((error as Error).message, `${length} bytes`).toMatch(/\d+ bytes are missing|need.* at least \d+ bytes/)
    }
    expect(borders.at(-1)).toBeLessThanOrEqual(dataStart)
  })

  it('counts the bytes that are missing of the last tensor', async () => {
    const { bytes } = writeGguf(whole)
    const error = await errorOf(bytes.subarray(0, bytes.length - 100))
    expect(error.message).toContain(`output_norm.weight": 100 bytes are missing, the file has ${bytes.length - 100}`)
  })
})

describe('a wrong GGUF file', () => {
  const cases: Record<string, [Uint8Array, ErrorCode, RegExp]> = {
    'another magic': [writeGguf({ ...whole, magic: 'GGUX' }).bytes, 'FORMAT_UNKNOWN', /first bytes are 47 47 55 58/],
    'no bytes': [new Uint8Array(), 'FORMAT_UNKNOWN', /empty/],
    'two bytes': [Buffer.from('GG'), 'FORMAT_UNKNOWN', /first bytes are 47 47/],
    garbage: [Uint8Array.from({ length: 4096 }, (_, i) => (i * 167 + 89) % 251), 'FORMAT_UNKNOWN', /first bytes/],
    'version 1': [writeGguf({ ...whole, version: 1 }).bytes, 'FORMAT_UNSUPPORTED', /version 1;/],
    'version 4': [writeGguf({ ...whole, version: 4 }).bytes, 'FORMAT_UNSUPPORTED', /version 4;/],
    'version 0': [writeGguf({ ...whole, version: 0 }).bytes, 'FORMAT_UNSUPPORTED', /version 0;/],
    'a big-endian version': [writeGguf({ ...whole, version: 0x0300_0000 }).bytes, 'FORMAT_UNSUPPORTED', /big-endian/],
    'a big-endian magic': [writeGguf({ ...whole, magic: 'FUGG' }).bytes, 'FORMAT_UNSUPPORTED', /big-endian/],
    'a huge number of tensors': [writeGguf({ ...whole, nTensors: 2n ** 40n }).bytes, 'FILE_CORRUPT', /1099511627776 tensors/],
    'the largest number of tensors': [
      writeGguf({ ...whole, nTensors: 2n ** 64n - 1n }).bytes,
      'FILE_CORRUPT',
      /18446744073709551615 tensors/,
    ],
    'a huge number of entries': [writeGguf({ ...whole, nEntries: 2n ** 63n }).bytes, 'FILE_CORRUPT', /metadata entries/],
    'more tensors than it lists': [
      writeGguf({ metadata: architecture, nTensors: 2, tensors: [{ name: 't', dims: [32] }] }).bytes,
      'FILE_CORRUPT',
      /tensor 1|tensor ""/,
    ],
    'more entries than it lists': [writeGguf({ ...whole, nEntries: 10 }).bytes, 'FILE_CORRUPT', /missing|does not exist/],
    'a huge key': [
      metadata(['x', value('u8', 1)]).map((byte, i) => (i === 24 + 7 ? 0xff : byte)),
      'FILE_CORRUPT',
      /key of metadata entry 0.*missing/,
    ],
    'a long key': [metadata(['k'.repeat(2000), value('u8', 1)]), 'FILE_CORRUPT', /a name of 2000 bytes/],
    'a string of the largest length': [
      metadata(['x', { type: 8, bytes: stringBytes('abc', 2n ** 64n - 1n) }]),
      'FILE_CORRUPT',
      /"x".*18446744073709551615 bytes/,
    ],
    'a string one byte too long': [
      metadata(['x', { type: 8, bytes: stringBytes('abc', 4) }]),
      'FILE_CORRUPT',
      /1 bytes are missing/,
    ],
    'a value type that does not exist': [
      metadata(['x', { type: 13, bytes: new Uint8Array(8) }]),
      'FILE_CORRUPT',
      /"x".*type 13/,
    ],
    'the largest value type': [
      metadata(['x', { type: 0xffff_ffff, bytes: new Uint8Array(8) }]),
      'FILE_CORRUPT',
      /type 4294967295/,
    ],
    'a boolean of two': [metadata(['x', { type: 7, bytes: Uint8Array.of(2) }]), 'FILE_CORRUPT', /boolean of value 2/],
    'a key given twice': [metadata(['x', value('u8', 1)], ['x', value('u8', 1)]), 'FILE_CORRUPT', /"x": given twice/],
    'an array of arrays': [
      metadata(['x', { type: 9, bytes: Buffer.concat([u32Bytes(9), u64Bytes(1), array('u8', [1]).bytes]) }]),
      'FORMAT_UNSUPPORTED',
      /array of arrays/,
    ],
    'an array of an unknown type': [
      metadata(['x', { type: 9, bytes: Buffer.concat([u32Bytes(77), u64Bytes(1)]) }]),
      'FILE_CORRUPT',
      /type 77/,
    ],
    'an array of too many numbers': [
      metadata(['x', array('u32', [1, 2], 3)]),
      'FILE_CORRUPT',
      /array of 3 values needs at least 12 bytes/,
    ],
    'an array of too many strings': [
      metadata(['x', array('string', ['a', 'b'], 2n ** 40n)]),
      'FILE_CORRUPT',
      /1099511627776 values needs/,
    ],
    'an array of the largest count': [
      metadata(['x', array('u8', [], 2n ** 64n - 1n)]),
      'FILE_CORRUPT',
      /18446744073709551615 values/,
    ],
    'an array whose last string is too long': [
      metadata(['x', { type: 9, bytes: Buffer.concat([u32Bytes(8), u64Bytes(2), stringBytes('a'), stringBytes('b', 9)]) }]),
      'FILE_CORRUPT',
      /8 bytes are missing/,
    ],
    'an alignment of zero': [metadata(['general.alignment', value('u32', 0)]), 'FILE_CORRUPT', /general\.alignment.*found 0/],
    'an alignment that is no power of two': [metadata(['general.alignment', value('u32', 48)]), 'FILE_CORRUPT', /found 48/],
    'an alignment of 4': [metadata(['general.alignment', value('u32', 4)]), 'FILE_CORRUPT', /found 4/],
    'a huge alignment': [metadata(['general.alignment', value('u32', 2 ** 31)]), 'FILE_CORRUPT', /found 2147483648/],
    'an alignment in words': [metadata(['general.alignment', value('string', '32')]), 'FILE_CORRUPT', /power of two/],
    'no dimensions': [tensor({ dims: [] }), 'FILE_CORRUPT', /0 dimensions/],
    'five dimensions': [tensor({ dims: [1, 1, 1, 1, 1] }), 'FILE_CORRUPT', /5 dimensions/],
    'a dimension of zero': [tensor({ dims: [32, 0] }), 'FILE_CORRUPT', /zero in \[32, 0\]/],
    'dimensions whose product overflows': [
      tensor({ dims: [2n ** 32n, 2n ** 32n, 2n ** 32n, 2n ** 32n] }),
      'FILE_CORRUPT',
      /bytes are missing/,
    ],
    'dimensions whose product overflows to little': [tensor({ dims: [2n ** 63n, 2n] }), 'FILE_CORRUPT', /bytes are missing/],
    'the largest dimension': [tensor({ dims: [2n ** 64n - 1n] }), 'FILE_CORRUPT', /bytes are missing/],
    'rows that are no multiple of the block': [
      tensor({ type: 'q4_k', dims: [128, 2] }),
      'FILE_CORRUPT',
      /rows of 128 values, but q4_k has blocks of 256/,
    ],
    'a tensor type that we do not have': [
      tensor({ type: 15, dims: [256] }),
      'FORMAT_UNSUPPORTED',
      /tensor "t".*q8_k \(id 15\)/,
    ],
    'a tensor type that was removed': [tensor({ type: 4 }), 'FORMAT_UNSUPPORTED', /q4_2, removed/],
    'a tensor type that nobody has': [tensor({ type: 0xffff_ffff }), 'FORMAT_UNSUPPORTED', /type id 4294967295 is not known/],
    'a tensor listed twice': [
      writeGguf({
        metadata: architecture,
        tensors: [
          { name: 't', dims: [8] },
          { name: 't', dims: [8] },
        ],
      }).bytes,
      'FILE_CORRUPT',
      /"t": listed twice/,
    ],
    'two names of one tensor': [
      writeGguf({
        metadata: architecture,
        tensors: [
          { name: 'output.weight', dims: [8] },
          { name: 'lm_head.weight', dims: [8] },
        ],
      }).bytes,
      'FILE_CORRUPT',
      /the same tensor/,
    ],
    'an offset out of line': [tensor({ offset: 4 }), 'FILE_CORRUPT', /offset 4 is not a multiple of the alignment, 32/],
    'an offset past the end': [tensor({ offset: 320, data: new Uint8Array(0) }), 'FILE_CORRUPT', /bytes are missing/],
    'overlapping tensors': [
      writeGguf({
        metadata: architecture,
        tensors: [
          { name: 'b', dims: [16], offset: 32 },
          { name: 'a', dims: [16], offset: 0 },
        ],
      }).bytes,
      'FILE_CORRUPT',
      /"b": its bytes overlap those of "a"/,
    ],
    'a name that plays with the terminal': [
      tensor({ name: '\u001b[31mred\n', type: 99 }),
      'FORMAT_UNSUPPORTED',
      /"\\u001b\[31mred\\u000a"/,
    ],
  }

  for (const [name, [bytes, code, message]] of Object.entries(cases))
    it(`with ${name} gives ${code}`, async () => {
      const error = await errorOf(bytes)
      expect(error).toMatchObject({ code })
      expect(error.message).toMatch(message)
      expect(error.message).toContain('model.gguf')
    })

  it('with the largest offset gives FILE_CORRUPT', async () => {
    const { bytes, borders } = writeGguf({ metadata: architecture, tensors: [{ name: 't', dims: [32] }] })
    bytes.writeBigUInt64LE(2n ** 64n - 32n, borders.at(-2)!)
    expect(await errorOf(bytes)).toMatchObject({ code: 'FILE_CORRUPT' })
  })

  it('that claims 2^37 strings, and is sparse and large enough for them, is refused without a walk', async () => {
    const { bytes } = writeGguf({ metadata: [['x', array('string', [], 2n ** 37n)]] })
    const path = await temporaryFile('sparse.gguf', bytes)
    await truncate(path, bytes.length + 2 ** 40)
    const before = process.memoryUsage().rss
    const start = performance.now()
    await expect(openCheckpoint(path)).rejects.toThrow(/137438953472 strings/)
    expect(performance.now() - start).toBeLessThan(500)
    expect(process.memoryUsage().rss - before).toBeLessThan(20e6)
  })

  it('with as many empty strings as are allowed is walked in small memory, and the walk can be aborted', async () => {
    const { bytes } = writeGguf({ metadata: [['x', array('string', [], 2n ** 24n)]] })
    const path = await temporaryFile('sparse.gguf', bytes)
    await truncate(path, bytes.length + 2 ** 28)
    const before = process.memoryUsage().rss
    await expect(openCheckpoint(path)).rejects.toMatchObject({ code: 'FILE_CORRUPT' })
    expect(process.memoryUsage().rss - before).toBeLessThan(50e6)
    await expect(openCheckpoint(path, { signal: AbortSignal.timeout(5) })).rejects.toMatchObject({ code: 'ABORTED' })
    await expect(openCheckpoint(path, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'ABORTED' })
  })
})

describe('a GGUF file changed at random', () => {
  it('opens or gives an InfernodeError, in bounded time', async () => {
    const { bytes, borders, dataStart } = writeGguf(whole)
    const path = await temporaryFile('model.gguf', bytes)
    // A linear congruential generator: the same changes in every run.
    let state = 12_345
    const random = (below: number): number => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
      return Math.floor((state / 2 ** 32) * below)
    }
    const interesting = [0, 1, 2, 7, 8, 9, 12, 13, 0x7f, 0x80, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff]
    const outcomes = new Map<string, number>()
    for (let i = 0; i < 600; i++) {
      let changed = Buffer.from(bytes)
      for (let n = 1 + random(3); n > 0; n--) {
        const border = borders[random(borders.length)]!
        const at = Math.min(random(2) ? border : random(dataStart), changed.length - 8)
        const kind = random(6)
        if (kind === 0) changed[at] = random(256)
        else if (kind === 1) changed.writeUInt32LE(interesting[random(interesting.length)]!, at)
        else if (kind === 2) changed.writeBigUInt64LE(2n ** BigInt(random(64)) - BigInt(random(2)), at)
        else if (kind === 3) changed = Buffer.concat([changed.subarray(0, at), changed.subarray(at + 1 + random(40))])
        else if (kind === 4)
          changed = Buffer.concat([changed.subarray(0, at), Buffer.alloc(random(40), random(256)), changed.subarray(at)])
        else changed.copyWithin(at, borders[random(borders.length)]!, at + random(64))
      }
      await writeFile(path, changed)
      const start = performance.now()
      const outcome = await openCheckpoint(path).then(
        (checkpoint) => {
          for (const { offset, bytes } of checkpoint.tensors.values())
            expect(offset + bytes).toBeLessThanOrEqual(changed.length)
          return 'opened'
        },
        (error: { code: string; stack: string }) => {
          expect(errorCodes, error.stack).toContain(error.code)
          expect(error.code, error.stack).not.toBe('INTERNAL')
          return error.code
        },
      )
      expect(performance.now() - start).toBeLessThan(1000)
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
    }
    expect(outcomes.get('FILE_CORRUPT')).toBeGreaterThan(100)
    expect(outcomes.get('opened')).toBeGreaterThan(5)
  })
})
