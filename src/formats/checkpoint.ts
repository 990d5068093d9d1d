/** What every checkpoint format yields: where config, tensors, tokenizer and defaults are. Nothing here is read into memory. */
import type { TensorTypeName } from '../tensor-types.js'

export interface CheckpointFile {
  readonly path: string
  readonly bytes: number
  readonly mtimeMs: number
}

/** A tensor under its Hugging Face name (`model.layers.0.self_attn.q_proj.weight`), in place in a file. */
export interface TensorInfo {
  readonly name: string
  /** Its name in the file. */
  readonly sourceName: string
  readonly type: TensorTypeName
  /** Row-major: [out, in] for matrices (GGUF lists dimensions the other way round). */
  readonly shape: readonly number[]
  /** Index into `files`. */
  readonly file: number
  /** Bytes from the start of the file. */
  readonly offset: number
  readonly bytes: number
  /** Added to every value of a vector when it is loaded. */
  readonly add?: number
  /** The file stores the transpose of `shape`: [in, out]. */
  readonly transposed?: true
}

/** How the format stores values, where that differs between formats (DESIGN, formats). */
export interface Conventions {
  /** Which dimensions rotate together: i and i + n/2, or 2i and 2i + 1 (GGUF permutes llama's q and k rows). */
  readonly ropePairing: 'half' | 'interleaved'
}

/**
 * A byte range of a GGUF array inside its file: `count` elements, the first at `offset`. Elements of a string array are a
 * u64 length and that many bytes each. A string too long to be metadata is a range of one element.
 */
export interface GgufArrayRange {
  readonly offset: number
  readonly bytes: number
  readonly count: number
}

/** Where the vocabulary is. The native side reads it from there; JavaScript never decodes it. */
export type TokenizerSource =
  | {
      readonly from: 'gguf'
      readonly path: string
      /** tokenizer.ggml.*, without the long arrays. */
      readonly metadata: ReadonlyMap<string, GgufValue>
      readonly tokens: GgufArrayRange
      readonly scores: GgufArrayRange | null
      readonly types: GgufArrayRange | null
      readonly merges: GgufArrayRange | null
    }
  | {
      readonly from: 'tokenizer.json'
      readonly path: string
      /** tokenizer_config.json, parsed; empty where there is none. */
      readonly config: Readonly<Record<string, unknown>>
    }

/** Integers of 64 bits are numbers where a number holds them exactly, bigints where not. */
export type GgufValue = number | bigint | boolean | string | readonly (number | bigint | boolean | string)[] | GgufArrayRange

/** The model's description as the format has it; `src/architectures` reads both kinds. */
export type ConfigSource =
  | { readonly from: 'hf'; readonly path: string; readonly json: Readonly<Record<string, unknown>> }
  /** Metadata with keys as in the file ('llama.block_count'); long arrays stay byte ranges. */
  | { readonly from: 'gguf'; readonly path: string; readonly metadata: ReadonlyMap<string, GgufValue> }

/**
 * Defaults for sampling and the ids that end a text, from generation_config.json (and the eos ids of config.json) or GGUF
 * metadata. `do_sample: false` is a temperature of 0.
 */
export interface GenerationDefaults {
  readonly temperature?: number
  readonly topK?: number
  readonly topP?: number
  readonly minP?: number
  readonly repetitionPenalty?: number
  readonly eosTokenIds: readonly number[]
}

export interface Checkpoint {
  readonly format: 'gguf' | 'safetensors'
  /** The path that was given. */
  readonly path: string
  /** For people: general.name, or the folder's name. */
  readonly name: string
  readonly files: readonly CheckpointFile[]
  /** Hugging Face's model_type or GGUF's general.architecture (but 'mixtral', which is 'llama' with experts there). */
  readonly modelType: string
  readonly config: ConfigSource
  /** Null where the format has no row for this model type: its conventions are not known and must not be guessed. */
  readonly conventions: Conventions | null
  readonly tensors: ReadonlyMap<string, TensorInfo>
  readonly tokenizer: TokenizerSource | null
  readonly chatTemplate: string | null
  readonly generation: GenerationDefaults
}
