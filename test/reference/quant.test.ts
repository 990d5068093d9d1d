import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type TensorTypeName, tensorTypes } from '../../src/tensor-types.js'
import { existsSync } from 'node:fs'
import { goldensFolder, readTensors } from '../support/goldens.js'
import { decode } from './quant.js'

describe('golden blocks', () => {
  const types = Object.keys(tensorTypes).filter((type) => tensorTypes[type as TensorTypeName].activations !== null)
  for (const type of types.filter((type) => type !== 'f32') as TensorTypeName[]) {
    const path = join(goldensFolder, 'quant', `${type}.safetensors`)
    if (!existsSync(path)) console.warn(`SKIPPED: there are no golden blocks ${path}`)
    it.skipIf(!existsSync(path))(`the reference reads ${type} as GGUF's own tools do`, () => {
      const tensors = readTensors(path)
      const values = decode(type, Uint8Array.from(tensors.get('bytes')!.data))
      const expected = tensors.get('dequantized')!.data
      expect(values).toHaveLength(expected.length)
      // Theirs are rounded to f32 once or twice.
      values.forEach((value, i) =>
        expect(Math.abs(value - expected[i]!)).toBeLessThanOrEqual(2e-6 * Math.abs(expected[i]!) + 1e-9),
      )
    })
  }
})
