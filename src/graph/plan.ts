/** A plan: the graph after the passes, as plain data. It crosses to the native side once per model, as JSON. */
import type { TensorTypeName } from '../tensor-types.js'

/** The rows of a value: one per token of the step, or one per row whose logits are wanted. */
export type RowsOf = 'tokens' | 'outputs'

/** A tensor of a checkpoint, in place in its file. */
export interface FileWeight {
  readonly name: string
  readonly type: TensorTypeName
  /**
   * Row-major. One dimension: a vector, converted to f32 when loaded (plus `add`). Two: [rows, cols], used in place. Three: the
   * experts of a mixture, [experts, rows, cols], used in place.
   */
  readonly shape: readonly number[]
  /** Index into `files`. */
  readonly file: number
  /** Bytes from the start of the file. */
  readonly offset: number
  /** Added to every value of a vector when it is loaded (Hugging Face's Gemma stores norm weights minus one). */
  readonly add?: number
  /**
   * The file has the transpose of a larger matrix with so many columns: element [r, c] stands c · storedColumns + r elements
   * behind `offset`. Such a matrix is copied when it is loaded (plain types only).
   */
  readonly storedColumns?: number
  /** [file, offset] of each expert, where they do not stand one after another; `name` has a * for their number. */
  readonly parts?: readonly (readonly [file: number, offset: number])[]
}

/** A small f32 vector that the plan carries itself (rotary frequencies). */
export interface ConstantWeight {
  readonly name: string
  readonly type: 'f32'
  readonly shape: readonly [number]
  readonly data: readonly number[]
}

export type PlanWeight = FileWeight | ConstantWeight

export interface PlanValue {
  readonly name: string
  readonly rows: RowsOf
  readonly width: number
  readonly type: 'f32' | 'a8_32' | 'a8_256'
  /**
   * Place in the arena of its kind of rows, in bytes per row, a multiple of 64. With room for n rows in the arena the value
   * starts at offset · n; its rows are `stride` bytes apart.
   */
  readonly offset: number
  /** Bytes from row to row: the row's bytes rounded up to 64. */
  readonly stride: number
}

/**
 * Indices into `values` or `weights` by the operand's name in the op table; lists where the op takes lists. An absent operand
 * has no key; an absent element of an optional list is -1.
 */
export type Operands = Readonly<Record<string, number | readonly number[]>>

export interface PlanStep {
  /** Name of a row of the op table. */
  readonly op: string
  /** Where the step comes from, for people: 'model.layers.0.self_attn.{q,k,v}_proj'. */
  readonly label: string
  readonly inputs: Operands
  readonly weights: Operands
  readonly outputs: Operands
  readonly attributes: Readonly<Record<string, number | string>>
}

/** Layers that share one block table: all full attention, or all with the same sliding window. */
export interface KvGroup {
  /** Layer numbers; every group has the same number of layers, so that pages of all groups are of one size. */
  readonly layers: readonly number[]
  /** Positions that a query sees, itself included; 0: all. */
  readonly window: number
}

export interface Plan {
  readonly version: 1
  readonly architecture: string
  readonly vocabSize: number
  readonly contextLength: number
  readonly files: readonly { readonly path: string; readonly bytes: number; readonly mtimeMs: number }[]
  readonly weights: readonly PlanWeight[]
  readonly values: readonly PlanValue[]
  readonly steps: readonly PlanStep[]
  /** steps[headStep..] have one row per output. The engine may run them several times, for slices of the outputs. */
  readonly headStep: number
  readonly kv: { readonly nKvHeads: number; readonly headDim: number; readonly groups: readonly KvGroup[] }
  /** Values that the caller feeds (tests of single ops; later soft prompts). */
  readonly inputs: readonly { readonly name: string; readonly value: number }[]
  /** 'logits' (value with rows of outputs), and what was captured by name, each alive at the end of the step. */
  readonly outputs: readonly { readonly name: string; readonly value: number }[]
  /** Bytes per row of the two arenas. */
  readonly bytesPerRow: { readonly tokens: number; readonly outputs: number }
}
