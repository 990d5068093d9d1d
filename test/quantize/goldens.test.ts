/** Encoders against the golden blocks: what the gguf package makes of the same input. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { encodableTypes, quantizeTensor } from '../../src/quantize/encode.js'
import { type TensorTypeName, tensorTypes } from '../../src/tensor-types.js'
import { decode } from '../reference/quant.js'
import { goldensFolder, readTensors } from '../support/goldens.js'

/** Types whose format leaves no choice (q8_0: the largest magnitude is 127 by convention). */
const exact: readonly TensorTypeName[] = ['f16', 'bf16', 'q8_0']

describe('golden blocks', () => {
  for (const type of encodableTypes()) {
    const path = join(goldensFolder, 'quant', `${type}.safetensors`)
    const golden = existsSync(path) ? readTensors(path) : undefined
    // The package that made them has no encoder for some types.
    if (!golden?.has('quantized')) continue
    const { shape, data } = golden.get('input')!
    const [nRows, rowLength] = shape as [number, number]
    const theirs = Uint8Array.from(golden.get('quantized')!.data)

    it(`${type} is ${exact.includes(type) ? 'encoded to their bytes' : 'no further from the input than they are, block by block'}`, async () => {
      const source = new Uint8Array(Float32Array.from(data).buffer)
      const { bytes } = await quantizeTensor({ name: type, source, sourceType: 'f32', targetType: type, nRows, rowLength })
      if (exact.includes(type)) return expect(bytes).toEqual(theirs)
      const { blockValues } = tensorTypes[type]
      const errorsOf = (blocks: Uint8Array) => {
        const values = decode(type, blocks)
        return Array.from({ length: values.length / blockValues }, (_, block) => {
          let squares = 0
          for (let i = block * blockValues; i < (block + 1) * blockValues; i++) squares += (values[i]! - data[i]!) ** 2
          return squares
        })
      }
      const [ours, golden] = [errorsOf(bytes), errorsOf(theirs)]
      // Each block is the better of theirs and a fitted one; errors are compared in f32, so equals may change places.
      ours.forEach((squares, block) => expect(squares, `block ${block}`).toBeLessThanOrEqual(golden[block]! * (1 + 2 ** -18)))
      const sum = (all: number[]) => all.reduce((a, b) => a + b, 0)
      expect(sum(ours)).toBeLessThan(sum(golden))
    })
  }
})
