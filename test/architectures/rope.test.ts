import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { readDecoderConfig } from '../../src/architectures/architecture.js'
import { makeRope, type RopeScaling } from '../../src/architectures/rope.js'
import { llamaTensors, madeGguf, madeLlama } from '../support/made-checkpoints.js'

const base = { name: 'rope', headDim: 16, ropeDim: 16, theta: 10000, pairing: 'half' } as const
const frequencies = (scaling: RopeScaling) => makeRope({ ...base, scaling }).frequencies
const plain = frequencies({ type: 'none' })
const scalingOf = async (rope_scaling: unknown) => (await readDecoderConfig(madeLlama({ rope_scaling }))).rope
const unsupported = expect.objectContaining({ code: 'FORMAT_UNSUPPORTED' })
const invalid = expect.objectContaining({ code: 'CONFIG_INVALID' })

describe('makeRope', () => {
  it('turns slower from pair to pair', () => {
    expect(plain).toHaveLength(8)
    plain.forEach((frequency, i) => expect(frequency).toBe(Math.fround(10000 ** (-i / 8))))
  })
  it('divides all frequencies by the linear factor', () => {
    frequencies({ type: 'linear', factor: 4 }).forEach((frequency, i) =>
      expect(frequency).toBe(Math.fround(10000 ** (-i / 8) / 4)),
    )
  })
  it('keeps short wavelengths and stretches long ones as llama3 does', () => {
    const scaled = frequencies({
      type: 'llama3',
      factor: 8,
      lowFrequencyFactor: 1,
      highFrequencyFactor: 4,
      originalContextLength: 64,
    })
    expect(scaled[0]).toBe(plain[0])
    expect(scaled.at(-1)).toBe(Math.fround(10000 ** (-7 / 8) / 8))
    expect(scaled.every((frequency, i) => i === 0 || frequency < scaled[i - 1]!)).toBe(true)
  })
  it('keeps fast dimensions and stretches slow ones as yarn does, and sharpens attention', () => {
    const scaling = {
      type: 'yarn',
      factor: 4,
      betaFast: 32,
      betaSlow: 1,
      originalContextLength: 256,
      attentionFactor: 1.5,
    } as const
    const rope = makeRope({ ...base, scaling })
    expect(rope.scale).toBe(1.5)
    expect(rope.frequencies[0]).toBe(plain[0])
    expect(rope.frequencies.at(-1)).toBe(Math.fround(10000 ** (-7 / 8) / 4))
  })
  it('turns only the first dimensions where told so', () => {
    expect(makeRope({ ...base, ropeDim: 8, scaling: { type: 'none' } }).frequencies).toHaveLength(4)
  })
})

describe('readRopeScaling', () => {
  it('takes both names of the type', async () => {
    expect(await scalingOf({ type: 'linear', factor: 2 })).toEqual(await scalingOf({ rope_type: 'linear', factor: 2 }))
  })
  it('computes the attention factor of yarn from the factor where it is not given', async () => {
    expect((await scalingOf({ rope_type: 'yarn', factor: 4 })).scale).toBe(Math.fround(0.1 * Math.log(4) + 1))
    expect((await scalingOf({ rope_type: 'yarn', factor: 4, attention_factor: 1.25 })).scale).toBe(1.25)
  })
  const strange: Record<string, unknown>[] = [
    { rope_type: 'dynamic', factor: 2 },
    { rope_type: 7 },
    { rope_type: 'yarn', factor: 2, mscale: 1 },
    { rope_type: 'yarn', factor: 2, truncate: false },
    { rope_type: 'default', partial_rotary_factor: 0.5 },
  ]
  for (const scaling of strange)
    it(`does not guess at ${JSON.stringify(scaling)}`, () => expect(scalingOf(scaling)).rejects.toThrow(unsupported))
  const wrong: unknown[] = [
    'linear',
    { rope_type: 'linear' },
    { rope_type: 'longrope' },
    { rope_type: 'linear', factor: 0 },
    { rope_type: 'llama3', factor: 8, low_freq_factor: 4, high_freq_factor: 1, original_max_position_embeddings: 64 },
    { rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4 },
  ]
  for (const scaling of wrong)
    it(`rejects ${JSON.stringify(scaling)}`, () => expect(scalingOf(scaling)).rejects.toThrow(invalid))

  it('reads linear and yarn from GGUF as from Hugging Face', async () => {
    const yarn = {
      'llama.rope.scaling.type': 'yarn',
      'llama.rope.scaling.factor': 4,
      'llama.rope.scaling.original_context_length': 32,
    }
    const ours = await scalingOf({ rope_type: 'yarn', factor: 4, original_max_position_embeddings: 32 })
    expect((await readDecoderConfig(madeGguf(yarn))).rope).toEqual({ ...ours, pairing: 'interleaved' })
    const linear = { 'llama.rope.scaling.type': 'linear', 'llama.rope.scaling.factor': 4 }
    expect((await readDecoderConfig(madeGguf(linear))).rope.frequencies).toEqual(
      (await scalingOf({ type: 'linear', factor: 4 })).frequencies,
    )
    const older = { 'llama.rope.scale_linear': 4 }
    expect((await readDecoderConfig(madeGguf(older))).rope.frequencies).toEqual(
      (await scalingOf({ type: 'linear', factor: 4 })).frequencies,
    )
  })
  it('does not guess at longrope of GGUF', () => {
    return expect(readDecoderConfig(madeGguf({ 'llama.rope.scaling.type': 'longrope' }))).rejects.toThrow(unsupported)
  })
})

describe('readRopeFactors', () => {
  const withFactors = (factors: readonly number[], claimed = factors.length) => {
    const folder = mkdtempSync(join(tmpdir(), 'infernode-rope-'))
    const path = join(folder, 'model.gguf')
    const bytes = Buffer.alloc(4 * factors.length)
    factors.forEach((factor, i) => bytes.writeFloatLE(factor, 4 * i))
    writeFileSync(path, bytes)
    const checkpoint = madeGguf({}, { 'rope_freqs.weight': ['f32', [claimed]], ...llamaTensors() })
    const read = readDecoderConfig({ ...checkpoint, files: [{ path, bytes: bytes.length, mtimeMs: 0 }] })
    return read.finally(() => rmSync(folder, { recursive: true }))
  }
  it('divides the frequencies by them', async () => {
    const { rope } = await withFactors([1, 1, 1, 1, 2, 4, 8, 8])
    expect(rope.frequencies.map((frequency, i) => Math.round(plain[i]! / frequency))).toEqual([1, 1, 1, 1, 2, 4, 8, 8])
  })
  it('rejects another number of them', () =>
    expect(withFactors([1, 1, 1, 1])).rejects.toThrow(expect.objectContaining({ code: 'TENSOR_SHAPE' })))
  it('rejects factors that are no positive numbers', async () => {
    for (const factor of [0, -1, NaN, Infinity]) {
      await expect(withFactors([1, 1, 1, factor, 1, 1, 1, 1])).rejects.toThrow(
        expect.objectContaining({ code: 'FILE_CORRUPT' }),
      )
    }
  })
  it('says when the file became shorter', () => {
    return expect(withFactors([1, 1], 8)).rejects.toThrow(expect.objectContaining({ code: 'FILE_CHANGED' }))
  })
})
