/** The types of a tensor's values, and the typed arrays that hold them. */
import { type TensorTypeName, tensorTypes } from '../tensor-types.js'

/** Block types (q8_0, …) hold weights: they can be multiplied with, looked up and dequantized. */
export type DType = Exclude<TensorTypeName, 'a8_32' | 'a8_256'>
export type FloatDType = 'f32' | 'f16' | 'bf16'
export type IntegerDType = 'i32' | 'i8' | 'u8' | 'bool'
export type PlainDType = FloatDType | IntegerDType
export type BlockDType = Exclude<DType, PlainDType>

interface Arrays {
  f32: Float32Array
  f16: Uint16Array
  bf16: Uint16Array
  i32: Int32Array
  i8: Int8Array
  u8: Uint8Array
  bool: Uint8Array
}

/** f32 → Float32Array, i32 → Int32Array, i8 → Int8Array; f16, bf16 → Uint16Array with their bits; u8, bool (0, 1), blocks → Uint8Array. */
export type ArrayOf<D extends DType> = D extends keyof Arrays ? Arrays[D] : Uint8Array

/** The dtype that a typed array has unless another is named. */
export type DTypeOf<A> = A extends Float32Array
  ? 'f32'
  : A extends Int32Array
    ? 'i32'
    : A extends Int8Array
      ? 'i8'
      : A extends Uint8Array
        ? 'u8'
        : never

export type PlainArray = Float32Array | Int32Array | Int8Array | Uint8Array | Uint16Array

const constructors = {
  f32: Float32Array,
  f16: Uint16Array,
  bf16: Uint16Array,
  i32: Int32Array,
  i8: Int8Array,
  u8: Uint8Array,
  bool: Uint8Array,
} as const

const names = Object.keys(tensorTypes) as TensorTypeName[]

export const dtypes = names.filter((name): name is DType => name !== 'a8_32' && name !== 'a8_256')

/** The type's number in native/generated/tensor_types.h. */
export const numberOf = (dtype: DType): number => names.indexOf(dtype)

export const isFloat = (dtype: DType): dtype is FloatDType => dtype === 'f32' || dtype === 'f16' || dtype === 'bf16'
export const isPlain = (dtype: DType): dtype is PlainDType => Object.hasOwn(constructors, dtype)

export function arrayConstructor(dtype: DType): (typeof constructors)[PlainDType] {
  return isPlain(dtype) ? constructors[dtype] : Uint8Array
}

/** The dtype that an array has by itself. */
export function dtypeOf(array: unknown): PlainDType | undefined {
  if (array instanceof Float32Array) return 'f32'
  if (array instanceof Int32Array) return 'i32'
  if (array instanceof Int8Array) return 'i8'
  if (array instanceof Uint8Array) return 'u8'
  return undefined
}

/** The number that 16 bits stand for. */
export function fromHalf(dtype: 'f16' | 'bf16', bits: number): number {
  if (dtype === 'bf16') {
    scratch.setUint32(0, bits * 65536)
    return scratch.getFloat32(0)
  }
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 31
  const fraction = bits & 1023
  if (exponent === 31) return fraction ? NaN : sign * Infinity
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25))
}

const scratch = new DataView(new ArrayBuffer(4))

export function bytesOf(dtype: DType, values: number): number {
  const { blockValues, blockBytes } = tensorTypes[dtype]
  return (values / blockValues) * blockBytes
}
