/** Tensors from one type to another, through the addon: from memory and files, for any number of threads. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { rowBytes, type TensorTypeName, tensorTypes } from '../../src/tensor-types.js'
import { dequantizeTensor, encodableTypes, quantizeTensor } from '../../src/quantize/encode.js'
import { decode } from '../reference/quant.js'
import { temporaryFile, temporaryFolder } from '../support/checkpoints.js'
import { randomNumbers } from '../support/engines.js'

const bytesOf = (values: Float32Array) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength)

/** Values as weights have them: mostly small, some large. */
function weights(n: number, seed = 1): Float32Array {
  const random = randomNumbers(seed)
  return Float32Array.from({ length: n }, () => (random(2000) - 1000) * (random(16) === 0 ? 3e-4 : 1e-4))
}

const job = (values: Float32Array, targetType: TensorTypeName, nRows = 1) => ({
  name: 'w',
  source: bytesOf(values),
  sourceType: 'f32' as const,
  targetType,
  nRows,
  rowLength: values.length / nRows,
})

describe('quantizeTensor', () => {
  for (const type of encodableTypes()) {
    it(`writes ${type} blocks whose reported errors are those of the float64 reference`, async () => {
      const values = weights(4 * 512)
      const { bytes, rms, rmse, maxError, worstBlock } = await quantizeTensor(job(values, type, 4))
      expect(bytes).toHaveLength(4 * rowBytes(type, 512))
      const { blockValues } = tensorTypes[type]
      const errors = decode(type, bytes).map((value, i) => value - values[i]!)
      const squares = (from: number, n: number) => errors.slice(from, from + n).reduce((sum, e) => sum + e * e, 0)
      const blocks = Array.from({ length: values.length / blockValues }, (_, i) => Math.sqrt(squares(i * blockValues, blockValues) / blockValues))
      // The native side decodes to f32, the reference to float64.
      const near = (expected: number) => expect.closeTo(expected, 8)
      expect({ rmse, maxError, worst: worstBlock.rmse }).toEqual({
        rmse: near(Math.sqrt(squares(0, values.length) / values.length)),
        maxError: near(Math.max(...errors.map(Math.abs))),
        worst: near(Math.max(...blocks)),
      })
      expect(blocks[worstBlock.index]).toBeCloseTo(worstBlock.rmse, 8)
      expect(rms).toBeCloseTo(Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length), 6)
      expect(rmse).toBeLessThan(0.55 * rms) // ternary weights keep little
      const back = await dequantizeTensor({ ...job(values, type, 4), source: bytes, sourceType: type })
      decode(type, bytes).forEach((value, i) => expect(Math.abs(back[i]! - value)).toBeLessThanOrEqual(Math.abs(value) * 1e-6 + 1e-12))
    })
  }

  it('gives the same bytes and numbers for any number of threads, from memory and from a file into a file', async () => {
    const values = weights(300 * 512, 2)
    const whole = await quantizeTensor({ ...job(values, 'q4_0', 300), threads: 1 })
    const path = await temporaryFile('source', Buffer.concat([Buffer.from('head'), bytesOf(values)]))
    const target = join(await temporaryFolder(), 'target')
    for (const threads of [2, 3, 7]) {
      expect(await quantizeTensor({ ...job(values, 'q4_0', 300), threads })).toEqual(whole)
      await writeFile(target, 'begin')
      const written = await quantizeTensor({
        ...job(values, 'q4_0', 300),
        source: { path, offset: 4 },
        target: { path: target, offset: 5 },
        threads,
      })
      expect(written).toEqual({ ...whole, bytes: new Uint8Array() })
      const content = await readFile(target)
      expect(content.subarray(0, 5).toString()).toBe('begin')
      expect(new Uint8Array(content.subarray(5))).toEqual(whole.bytes)
    }
  })

  it('joins the parts of a large buffer as if it had come at once', async () => {
    const values = weights(6000 * 512, 3) // 12 MB
    values[5500 * 512 + 40] = 9
    const path = await temporaryFile('source', bytesOf(values))
    const atOnce = await quantizeTensor({ ...job(values, 'q8_0', 6000), source: { path, offset: 0 } })
    const done: number[] = []
    const inParts = await quantizeTensor({ ...job(values, 'q8_0', 6000), onProgress: (n) => done.push(n) })
    expect(Buffer.compare(inParts.bytes, atOnce.bytes)).toBe(0)
    expect(inParts.rmse).toBeCloseTo(atOnce.rmse, 12)
    expect(inParts.worstBlock).toEqual(atOnce.worstBlock)
    expect(inParts.worstBlock.index).toBe((5500 * 512 + 32) / 32)
    expect(inParts.maxError).toBe(atOnce.maxError)
    expect(done).toEqual(done.toSorted((a, b) => a - b))
  })

  it('accepts no rows', async () => {
    expect(await quantizeTensor(job(new Float32Array(), 'q4_0'))).toEqual({
      bytes: new Uint8Array(), rms: 0, rmse: 0, maxError: 0, worstBlock: { index: 0, rmse: 0 },
    })
  })

  it('names tensor, row and column of a value that cannot be stored', async () => {
    const values = weights(6000 * 512, 4)
    values[5000 * 512 + 7] = NaN
    values[5000 * 512 + 8] = Infinity
    await expect(quantizeTensor(job(values, 'q8_0', 6000))).rejects.toMatchObject({
      code: 'WEIGHT_UNENCODABLE',
      message: expect.stringContaining('Tensor "w", row 5000, column 7: nan cannot be stored as q8_0'),
    })
    const large = weights(1024, 5)
    large[700] = 1e38
    for (const type of ['q8_0', 'f16'] as const)
      await expect(quantizeTensor(job(large, type, 2))).rejects.toMatchObject({
        code: 'WEIGHT_UNENCODABLE',
        message: expect.stringContaining('row 1, column 188: 1e+38'),
      })
  })

  it('keeps what is not finite in float types', async () => {
    for (const type of ['f32', 'f16', 'bf16'] as const) {
      const { bytes, maxError } = await quantizeTensor(job(Float32Array.of(1, NaN, Infinity, -Infinity), type))
      expect([...decode(type, bytes)]).toEqual([1, NaN, Infinity, -Infinity])
      expect(maxError).toBe(0)
    }
  })

  it('refuses what does not fit', async () => {
    const values = weights(96)
    const refused = (changes: object, code: string) =>
      expect(quantizeTensor({ ...job(values, 'q4_0', 3), ...changes })).rejects.toMatchObject({ code })
    await refused({ targetType: 'i32' }, 'INVALID_ARGUMENT')
    await refused({ targetType: 'nothing' }, 'INVALID_ARGUMENT')
    await refused({ rowLength: 31 }, 'INVALID_ARGUMENT')
    await refused({ nRows: 2 }, 'INVALID_ARGUMENT')
    await refused({ nRows: -1 }, 'INVALID_ARGUMENT')
    await refused({ nRows: 2 ** 52 }, 'INVALID_ARGUMENT')
    await refused({ threads: 5000 }, 'INVALID_ARGUMENT')
    const path = await temporaryFile('short', new Uint8Array(100))
    await refused({ source: { path, offset: 0 } }, 'FILE_CORRUPT')
    await refused({ source: { path, offset: 200 } }, 'FILE_CORRUPT')
    await refused({ source: { path: `${path}-missing`, offset: 0 } }, 'FILE_UNREADABLE')
    await refused({ source: { path: await temporaryFolder(), offset: 0 } }, 'FILE_UNREADABLE')
    await refused({ target: { path: `${path}-missing`, offset: 0 } }, 'FILE_UNWRITABLE')
  })

  it('stops for an abort', async () => {
    const values = weights(6000 * 512, 6)
    await expect(quantizeTensor({ ...job(values, 'q4_0', 6000), signal: AbortSignal.abort('before') })).rejects.toMatchObject({
      code: 'ABORTED', cause: 'before',
    })
    const controller = new AbortController()
    const running = quantizeTensor({ ...job(values, 'q4_0', 6000), signal: controller.signal })
    setImmediate(() => controller.abort('meanwhile'))
    await expect(running).rejects.toMatchObject({ code: 'ABORTED', cause: 'meanwhile' })
  })
})
