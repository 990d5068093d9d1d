/** Plain float64 arithmetic on nested shapes, to hold tensors against; and the variants of this machine, one after another. */
import { afterAll, beforeAll, describe, expect } from 'vitest'
import { native } from '../../src/native.js'
import { Tensor } from '../../src/tensor.js'
import { broadcastShape, sizeOf, stridesOf } from '../../src/tensor/shapes.js'
import { forceIsa } from '../../src/tensor/view.js'

/** Row-major values in float64. */
export interface Plain {
  readonly shape: readonly number[]
  readonly data: Float64Array
}

export const plain = (shape: readonly number[], f: (i: number) => number): Plain => ({
  shape,
  data: Float64Array.from({ length: sizeOf(shape) }, (_, i) => f(i)),
})

export async function read(tensor: Tensor): Promise<Plain> {
  const f32 = (tensor.dtype === 'f16' || tensor.dtype === 'bf16' ? await tensor.cast('f32') : tensor) as Tensor<'f32'>
  return { shape: tensor.shape, data: Float64Array.from(await f32.read()) }
}

export const tensorOf = ({ shape, data }: Plain): Tensor<'f32'> =>
  Tensor.copyOf(Float32Array.from(data), shape) as Tensor<'f32'>

/** The value of each place of a shape, given its indices. */
export function fill(shape: readonly number[], f: (at: number[]) => number): Plain {
  const strides = stridesOf(shape)
  return plain(shape, (i) => f(shape.map((n, d) => Math.floor(i / strides[d]!) % n)))
}

/** The value at these indices, the last ones of which count; a dimension of 1 repeats. */
export function at({ shape, data }: Plain, indices: readonly number[]): number {
  const extra = indices.length - shape.length
  let place = 0
  for (let d = 0; d < shape.length; d++) place = place * shape[d]! + (shape[d] === 1 ? 0 : indices[d + extra]!)
  return data[place]!
}

export const broadcastWith = (a: Plain, b: Plain, f: (x: number, y: number) => number): Plain =>
  fill(broadcastShape(a.shape, b.shape)!, (i) => f(at(a, i), at(b, i)))

export function expectNear(
  actual: Plain,
  expected: Plain,
  { relative = 0, absolute = 0 }: { relative?: number; absolute?: number },
  what = '',
): void {
  expect(actual.shape, what).toEqual(expected.shape)
  for (let i = 0; i < expected.data.length; i++) {
    const [found, wanted] = [actual.data[i]!, expected.data[i]!]
    if (Object.is(found, wanted) || (Number.isNaN(found) && Number.isNaN(wanted))) continue
    if (!(Math.abs(found - wanted) <= relative * Math.abs(wanted) + absolute))
      expect.fail(`${what} [${i}] is ${found}, expected ${wanted}`)
  }
}

/** The tests once per variant that this machine runs. */
export function onEveryIsa(tests: (isa: string) => void): void {
  for (const isa of native().info().isas)
    describe(`on ${isa}`, () => {
      beforeAll(() => forceIsa(isa))
      afterAll(() => forceIsa(undefined))
      tests(isa)
    })
}

/** Numbers in [0, 1) that depend on the seed alone. */
export function randomNumbers(seed: number): () => number {
  let state = Math.imul(seed + 1, 0x9e3779b1) | 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 32
  }
}

export function random(shape: readonly number[], seed: number): Plain {
  const next = randomNumbers(seed)
  return plain(shape, () => Math.fround(4 * next() - 2))
}

/** Sizes around the lanes of every variant. */
export const lengths = [0, 1, 7, 8, 9, 15, 16, 17, 63, 64, 65, 1000]
