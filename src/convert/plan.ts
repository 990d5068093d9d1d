/** What a conversion writes, worked out before the first byte: metadata, and for each tensor where its values come from. */
import type { GgufWriterValue } from '../formats/gguf-writer.js'
import type { TensorTypeName } from '../tensor-types.js'

/** Bytes of a file. */
export interface Place {
  readonly path: string
  readonly offset: number
  readonly bytes: number
}

/** What happens to values on the way, in the source's own type unless told otherwise. */
export type Change =
  /** Rows of heads that rotate as halves (i with i + n/2) become neighbours (2i with 2i + 1). */
  | { readonly kind: 'pairRows'; readonly headDim: number }
  /** Stored as [in, out]. */
  | { readonly kind: 'transpose' }
  /** value · scale + add, in f32; where `rows` is given, for the first so many rows only. */
  | { readonly kind: 'affine'; readonly scale: number; readonly add: number; readonly rows?: number }

export interface PlannedTensor {
  /** As it will be called in the file. */
  readonly name: string
  readonly shape: readonly number[]
  readonly from: TensorTypeName
  readonly source:
    /** One after the other: experts that become one tensor have a place each. */
    | { readonly places: readonly Place[]; readonly changes: readonly Change[] }
    /** Computed: f32. */
    | { readonly values: Float32Array }
}

export interface ConversionPlan {
  readonly metadata: ReadonlyMap<string, GgufWriterValue>
  readonly alignment: number
  readonly tensors: readonly PlannedTensor[]
  /** What the file will not say as the source does, for people. */
  readonly remarks: readonly string[]
}
