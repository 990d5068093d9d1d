import { truncate, writeFile } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { errorCodes, type ErrorCode } from '../../src/errors.js'
import { readSafetensorsHeader } from '../../src/formats/safetensors.js'
import { temporaryFile, writeSafetensors } from '../support/checkpoints.js'

const f32 = (shape: number[], start: number, end: number) => ({ dtype: 'F32', shape, data_offsets: [start, end] })

const read = async (bytes: Uint8Array) => readSafetensorsHeader(await temporaryFile('model.safetensors', bytes))

describe('a safetensors header', () => {
  it('lists tensors of every type that we compute with, holes and scalars too', async () => {
    const header = {
      __metadata__: { format: 'pt' },
      c: { dtype: 'BF16', shape: [5], data_offsets: [40, 50] },
      a: f32([2, 3], 0, 24),
      scalar: f32([], 24, 28),
      b: { dtype: 'F16', shape: [2, 1], data_offsets: [28, 32] },
      empty: f32([0, 7], 32, 32),
      ids: { dtype: 'I32', shape: [1], data_offsets: [32, 36] },
    }
    const bytes = writeSafetensors(header, 50)
    const { file, tensors, skipped } = await read(bytes)
    const start = bytes.length - 50
    expect(file.bytes).toBe(bytes.length)
    expect(skipped).toEqual([])
    expect(Object.fromEntries(tensors.map(({ name, ...tensor }) => [name, tensor]))).toEqual({
      a: { type: 'f32', shape: [2, 3], offset: start, bytes: 24 },
      scalar: { type: 'f32', shape: [], offset: start + 24, bytes: 4 },
      b: { type: 'f16', shape: [2, 1], offset: start + 28, bytes: 4 },
      empty: { type: 'f32', shape: [0, 7], offset: start + 32, bytes: 0 },
      ids: { type: 'i32', shape: [1], offset: start + 32, bytes: 4 },
      c: { type: 'bf16', shape: [5], offset: start + 40, bytes: 10 },
    })
  })

  it('leaves out buffers of 64-bit integers and booleans', async () => {
    const header = {
      position_ids: { dtype: 'I64', shape: [1, 4], data_offsets: [0, 32] },
      mask: { dtype: 'BOOL', shape: [4], data_offsets: [32, 36] },
    }
    expect(await read(writeSafetensors(header, 36))).toMatchObject({ tensors: [], skipped: ['position_ids', 'mask'] })
  })

  it('is read without its data, and without any tensor', async () => {
    expect((await read(writeSafetensors({}))).tensors).toEqual([])
  })

  const a = f32([2, 3], 0, 24)
  const length = (value: bigint): Buffer => {
    const bytes = Buffer.alloc(8)
    bytes.writeBigUInt64LE(value)
    return bytes
  }
  const cases: Record<string, [Uint8Array, ErrorCode, RegExp]> = {
    'no bytes': [new Uint8Array(), 'FILE_CORRUPT', /empty/],
    'seven bytes': [new Uint8Array(7), 'FILE_CORRUPT', /1 bytes are missing/],
    'a header of no bytes': [length(0n), 'FILE_CORRUPT', /header: at byte 0: expected a value/],
    'a header past the end': [
      Buffer.concat([length(3n), Buffer.from('{}')]),
      'FILE_CORRUPT',
      /1 bytes are missing, the file has 10/,
    ],
    'a huge header': [Buffer.concat([length(100_000_001n), Buffer.from('{}')]), 'FILE_CORRUPT', /100000001 bytes, more than/],
    'the largest header': [
      Buffer.concat([length(2n ** 64n - 1n), Buffer.from('{}')]),
      'FILE_CORRUPT',
      /18446744073709551615 bytes/,
    ],
    'a header that is a list': [writeSafetensors([]), 'FILE_CORRUPT', /not a JSON object/],
    'a header that is not JSON': [writeSafetensors('{"a": }'), 'FILE_CORRUPT', /header: at byte 6/],
    'a name given twice': [
      writeSafetensors(`{"a":${JSON.stringify(a)},"a":${JSON.stringify(a)}}`, 24),
      'FILE_CORRUPT',
      /"a" is given twice/,
    ],
    'a tensor that is a number': [writeSafetensors({ a: 1 }), 'FILE_CORRUPT', /"a": not an object/],
    'no type': [writeSafetensors({ a: { shape: [], data_offsets: [0, 4] } }, 4), 'FILE_CORRUPT', /dtype/],
    'a type that is not known': [
      writeSafetensors({ a: { ...a, dtype: 'F7' } }, 24),
      'FORMAT_UNSUPPORTED',
      /"a": the type F7 is not read/,
    ],
    'a type that is not read': [writeSafetensors({ a: { ...a, dtype: 'F8_E4M3' } }, 24), 'FORMAT_UNSUPPORTED', /F8_E4M3/],
    'a type of every object': [
      writeSafetensors({ a: { ...a, dtype: 'constructor' } }, 24),
      'FORMAT_UNSUPPORTED',
      /constructor/,
    ],
    'no shape': [writeSafetensors({ a: { dtype: 'F32', data_offsets: [0, 4] } }, 4), 'FILE_CORRUPT', /shape/],
    'a negative size': [writeSafetensors({ a: { ...a, shape: [-2, -3] } }, 24), 'FILE_CORRUPT', /shape/],
    'a broken size': [writeSafetensors({ a: { ...a, shape: [1.5, 4] } }, 24), 'FILE_CORRUPT', /shape/],
    'a size beyond 2^53': [writeSafetensors({ a: { ...a, shape: [2 ** 53] } }, 24), 'FILE_CORRUPT', /shape/],
    'sizes whose product overflows': [
      writeSafetensors({ a: { ...a, shape: [2 ** 40, 2 ** 40] } }, 24),
      'FILE_CORRUPT',
      /takes 4835703278458516698824704 bytes/,
    ],
    'many dimensions': [writeSafetensors({ a: { ...a, shape: Array(9).fill(1) } }, 24), 'FILE_CORRUPT', /up to 8/],
    'no offsets': [writeSafetensors({ a: { dtype: 'F32', shape: [] } }, 4), 'FILE_CORRUPT', /data_offsets/],
    'three offsets': [writeSafetensors({ a: { ...a, data_offsets: [0, 4, 8] } }, 24), 'FILE_CORRUPT', /data_offsets/],
    'offsets in reverse': [
      writeSafetensors({ a: { ...a, data_offsets: [24, 0] } }, 24),
      'FILE_CORRUPT',
      /ends at 0, before its start at 24/,
    ],
    'bytes past the end': [writeSafetensors({ a }, 20), 'FILE_CORRUPT', /"a": 4 bytes are missing/],
    'more bytes than its shape': [
      writeSafetensors({ a: f32([2, 2], 0, 24) }, 24),
      'FILE_CORRUPT',
      /takes 16 bytes, data_offsets give it 24/,
    ],
    'a buffer of the wrong size': [
      writeSafetensors({ a: { dtype: 'I64', shape: [2], data_offsets: [0, 8] } }, 8),
      'FILE_CORRUPT',
      /takes 16 bytes/,
    ],
    'overlapping tensors': [
      writeSafetensors({ a, b: f32([2], 20, 28) }, 28),
      'FILE_CORRUPT',
      /"b": its bytes overlap those of "a"/,
    ],
    'the same bytes twice': [writeSafetensors({ a, b: a }, 24), 'FILE_CORRUPT', /overlap/],
  }
  for (const [name, [bytes, code, message]] of Object.entries(cases))
    it(`with ${name} gives ${code}`, async () => {
      const opened = read(bytes)
      await expect(opened).rejects.toMatchObject({ code })
      await expect(opened).rejects.toThrow(message)
    })

  it('cut short anywhere is FILE_CORRUPT', async () => {
    const bytes = writeSafetensors({ a, b: f32([3], 24, 36) }, 36)
    const path = await temporaryFile('model.safetensors', bytes)
    for (let size = bytes.length - 1; size >= 0; size--) {
      await truncate(path, size)
      await expect(readSafetensorsHeader(path), `${size} bytes`).rejects.toMatchObject({ code: 'FILE_CORRUPT' })
    }
  })

  it('changed at random is read or rejected, in bounded time', async () => {
    const bytes = writeSafetensors({ a, b: { dtype: 'BF16', shape: [3, 2], data_offsets: [24, 36] } }, 36)
    const path = await temporaryFile('model.safetensors', bytes)
    let state = 99
    const random = (below: number): number => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
      return Math.floor((state / 2 ** 32) * below)
    }
    const pieces = [
      '{',
      '}',
      '[',
      ']',
      '"',
      ',',
      ':',
      '-',
      '9',
      '0',
      'e',
      '\\',
      '\u0000',
      '"a":',
      '[[[[',
      '__proto__',
      '99999999999999999999',
    ]
    for (let i = 0; i < 400; i++) {
      let changed = Buffer.from(bytes)
      for (let n = 1 + random(3); n > 0; n--) {
        const at = random(bytes.length - 36)
        const piece = Buffer.from(pieces[random(pieces.length)]!)
        const removed = random(3)
        if (random(3) === 0) changed[at] = random(256)
        else changed = Buffer.concat([changed.subarray(0, at), piece, changed.subarray(at + removed * piece.length)])
      }
      // Half of them with a length that fits again, so that the JSON is reached.
      if (random(2)) changed.writeBigUInt64LE(BigInt(Math.max(0, changed.length - 8 - 36)))
      await writeFile(path, changed)
      const start = performance.now()
      const error = await readSafetensorsHeader(path).catch((error: unknown) => error as { code: ErrorCode; stack: string })
      if ('code' in error) expect(errorCodes, error.stack).toContain(error.code)
      else for (const { offset, bytes } of error.tensors) expect(offset + bytes).toBeLessThanOrEqual(changed.length)
      expect(performance.now() - start).toBeLessThan(1000)
    }
  })
})
