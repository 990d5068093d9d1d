/** What the type checker knows of tensors. `npm run check` compiles this file: a line that should not compile, but does, fails there. */
import { describe, expectTypeOf, it } from 'vitest'
import { Tensor } from '../../src/tensor.js'
import type { Shape } from '../../src/tensor/shapes.js'

const a = Tensor.zeros([2, 3])
const b = Tensor.zeros([3, 4])

describe('types of tensors', () => {
  it('the dtype decides the typed array', () => {
    expectTypeOf(Tensor.zeros([2]).readSync()).toEqualTypeOf<Float32Array>()
    expectTypeOf(Tensor.zeros([2], { dtype: 'i32' }).readSync()).toEqualTypeOf<Int32Array>()
    expectTypeOf(Tensor.zeros([2], { dtype: 'bf16' }).readSync()).toEqualTypeOf<Uint16Array>()
    expectTypeOf(Tensor.zeros([32], { dtype: 'q8_0' }).readSync()).toEqualTypeOf<Uint8Array>()
    expectTypeOf(Tensor.copyOf(new Int8Array(3))).toEqualTypeOf<Tensor<'i8', readonly [number]>>()
  })

  it('a matmul whose inner sizes differ does not compile', async () => {
    expectTypeOf(a.matmul(b)).resolves.toEqualTypeOf<Tensor<'f32', readonly [2, 4]>>()
    expectTypeOf(a.matmul(Tensor.zeros([7, 3]), { transposeB: true })).resolves.toEqualTypeOf<Tensor<'f32', readonly [2, 7]>>()
    expectTypeOf(Tensor.zeros([5, 1, 2, 3]).matmul(Tensor.zeros([6, 3, 4]))).resolves.toEqualTypeOf<
      Tensor<'f32', readonly [5, 6, 2, 4]>
    >()
    // @ts-expect-error [2, 3] times [4, 5]
    await a.matmul(Tensor.zeros([4, 5])).catch(() => {})
    // @ts-expect-error [2, 3] times [3, 4] transposed
    await a.matmul(b, { transposeB: true }).catch(() => {})
    // @ts-expect-error a string is no tensor
    await a.matmul('b').catch(() => {})
  })

  it('shapes broadcast, or do not compile', async () => {
    expectTypeOf(a.addSync(Tensor.zeros([3]))).toEqualTypeOf<Tensor<'f32', readonly [2, 3]>>()
    expectTypeOf(Tensor.zeros([4, 1]).addSync(Tensor.zeros([1, 5]))).toEqualTypeOf<Tensor<'f32', readonly [4, 5]>>()
    // @ts-expect-error [2, 3] and [2]
    await a.add(Tensor.zeros([2])).catch(() => {})
    // @ts-expect-error f32 and i32
    await a.add(Tensor.zeros([2, 3], { dtype: 'i32' })).catch(() => {})
  })

  it('views have the shapes that they are given', () => {
    expectTypeOf(a.reshape([3, 2])).toEqualTypeOf<Tensor<'f32', readonly [3, 2]>>()
    expectTypeOf(a.reshape([3, -1]).shape).toEqualTypeOf<readonly [3, number]>()
    expectTypeOf(a.transpose()).toEqualTypeOf<Tensor<'f32', readonly [3, 2]>>()
    expectTypeOf(Tensor.zeros([2, 3, 4]).transpose([2, 0, 1])).toEqualTypeOf<Tensor<'f32', readonly [4, 2, 3]>>()
    expectTypeOf(a.slice(0)).toEqualTypeOf<Tensor<'f32', readonly [3]>>()
    expectTypeOf(a.slice(null, [0, 2])).toEqualTypeOf<Tensor<'f32', readonly [2, number]>>()
  })

  it('what is not known as a literal is still a tensor', () => {
    const n: number = 2
    const shape: Shape = [2, 3]
    expectTypeOf(Tensor.zeros([n, 3]).matmul(b)).resolves.toEqualTypeOf<Tensor<'f32', readonly [number, 4]>>()
    expectTypeOf(Tensor.zeros(shape).matmul(b)).resolves.toEqualTypeOf<Tensor<'f32', Shape>>()
    const any: Tensor = a
    const f32: Tensor<'f32'> = a
    expectTypeOf(any).toEqualTypeOf<Tensor>()
    expectTypeOf(f32.shape).toEqualTypeOf<Shape>()
  })
})
