/** The tensor types: one row each. C++ gets native/generated/tensor_types.h from this table. */

/** What a matmul with weights of a type reads: float activations, or int8 with one scale per 32 or per 256 values. */
export type ActivationType = 'f32' | 'a8_32' | 'a8_256'

interface TensorTypeRow {
  /** Values per block. */
  readonly blockValues: number
  /** Bytes per block. */
  readonly blockBytes: number
  /** Id in GGUF files; null where GGUF has none. */
  readonly ggufId: number | null
  /** Name in safetensors headers; null where safetensors has none. */
  readonly safetensorsName: string | null
  /** What a matmul with weights of this type reads. `f32` for a block type: it is dequantized first. */
  readonly activations: ActivationType | null
}

const row = (
  blockValues: number,
  blockBytes: number,
  ggufId: number | null,
  safetensorsName: string | null,
  activations: ActivationType | null,
): TensorTypeRow => ({ blockValues, blockBytes, ggufId, safetensorsName, activations })

export const tensorTypes = {
  f32: row(1, 4, 0, 'F32', 'f32'),
  f16: row(1, 2, 1, 'F16', 'f32'),
  bf16: row(1, 2, 30, 'BF16', 'f32'),
  i32: row(1, 4, 26, 'I32', null),
  /** Of Tensor alone: no model has weights of these three. */
  i8: row(1, 1, null, null, null),
  u8: row(1, 1, null, null, null),
  /** A byte, 0 or 1. */
  bool: row(1, 1, null, null, null),
  q4_0: row(32, 18, 2, null, 'a8_32'),
  q4_1: row(32, 20, 3, null, 'a8_32'),
  q5_0: row(32, 22, 6, null, 'a8_32'),
  q5_1: row(32, 24, 7, null, 'a8_32'),
  q8_0: row(32, 34, 8, null, 'a8_32'),
  q2_k: row(256, 84, 10, null, 'a8_256'),
  q3_k: row(256, 110, 11, null, 'a8_256'),
  q4_k: row(256, 144, 12, null, 'a8_256'),
  q5_k: row(256, 176, 13, null, 'a8_256'),
  q6_k: row(256, 210, 14, null, 'a8_256'),
  iq4_nl: row(32, 18, 20, null, 'a8_32'),
  iq4_xs: row(256, 136, 23, null, 'a8_256'),
  mxfp4: row(32, 17, 39, null, 'a8_32'),
  nvfp4: row(64, 36, 40, null, 'f32'),
  iq1_s: row(256, 50, 19, null, 'f32'),
  iq1_m: row(256, 56, 29, null, 'f32'),
  iq2_xxs: row(256, 66, 16, null, 'f32'),
  iq2_xs: row(256, 74, 17, null, 'f32'),
  iq2_s: row(256, 82, 22, null, 'f32'),
  iq3_xxs: row(256, 98, 18, null, 'f32'),
  iq3_s: row(256, 110, 21, null, 'f32'),
  tq1_0: row(256, 54, 34, null, 'f32'),
  tq2_0: row(256, 66, 35, null, 'f32'),
  /** Activations as int8: per block of 32 one f32 scale and one i32 sum (native/quant/activations.h). */
  a8_32: row(32, 40, null, null, null),
  /** Activations as int8: per block of 256 one f32 scale, and one i16 sum per 16 values. */
  a8_256: row(256, 292, null, null, null),
} as const satisfies Record<string, TensorTypeRow>

export type TensorTypeName = keyof typeof tensorTypes

/** Bytes of `values` consecutive values; `values` is a multiple of the type's block. */
export function rowBytes(type: TensorTypeName, values: number): number {
  const { blockValues, blockBytes } = tensorTypes[type]
  return (values / blockValues) * blockBytes
}
