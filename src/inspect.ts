/** Looks into a checkpoint without loading its weights: config, tensors, tokenizer, and the plan that would run. */
import { InfernodeError } from './errors.js'
import { openCheckpoint } from './formats/index.js'
import type { Checkpoint, GgufValue, TensorInfo, TokenizerSource } from './formats/checkpoint.js'
import { unusedTensors } from './graph/builder.js'
import { compilePlan } from './graph/compile.js'
import type { Plan } from './graph/plan.js'
import { embeddedModel, weigh, type ModelInfo } from './model.js'
import { describe, expressions } from './tokenizer/tokenizer.js'

export interface Inspection extends Pick<
  ModelInfo,
  'name' | 'format' | 'path' | 'parameters' | 'bytes' | 'types' | 'architecture'
> {
  readonly vocabSize: number
  readonly contextLength: number
  readonly files: readonly { readonly path: string; readonly bytes: number }[]
  /** The checkpoint's own description: config.json, or GGUF's metadata with arrays summed up. */
  readonly config: Readonly<Record<string, unknown>>
  readonly tensors: readonly Pick<TensorInfo, 'name' | 'sourceName' | 'type' | 'shape' | 'bytes'>[]
  /** `kind`: bpe, spm, …; null where infernode cannot use it, and `problem` says why. */
  readonly tokenizer: {
    readonly from: string
    readonly kind: string | null
    readonly problem: string | null
    /** Expressions that split text without a matcher of their own, so slower; else empty. */
    readonly slowPatterns: readonly string[]
    readonly settings: Readonly<Record<string, unknown>>
  } | null
  readonly generation: Checkpoint['generation']
  readonly hasChatTemplate: boolean
  /** Names of tensors that the plan does not read. */
  readonly unusedTensors: readonly string[]
  readonly plan: Plan
}

/**
 * Reads the headers of a checkpoint and compiles its plan; no weight is touched.
 * @throws what Model.load() throws for the same file
 */
export async function inspect(path: string = embeddedModel): Promise<Inspection> {
  const checkpoint = await openCheckpoint(path)
  const plan = await compilePlan(checkpoint)
  return {
    name: checkpoint.name,
    architecture: plan.architecture,
    format: checkpoint.format,
    path: checkpoint.path,
    ...weigh(checkpoint),
    vocabSize: plan.vocabSize,
    contextLength: plan.contextLength,
    files: checkpoint.files.map(({ path, bytes }) => ({ path, bytes })),
    config:
      checkpoint.config.from === 'hf'
        ? checkpoint.config.json
        : summed(checkpoint.config.metadata, (key) => !isTokenizerKey(key)),
    tensors: [...checkpoint.tensors.values()].map(({ name, sourceName, type, shape, bytes }) => ({
      name,
      sourceName,
      type,
      shape,
      bytes,
    })),
    tokenizer: checkpoint.tokenizer && (await describeTokenizer(checkpoint.tokenizer)),
    generation: checkpoint.generation,
    hasChatTemplate: checkpoint.chatTemplate !== null,
    unusedTensors: unusedTensors(checkpoint, plan),
    plan,
  }
}

const isTokenizerKey = (key: string): boolean => key.startsWith('tokenizer.')

async function describeTokenizer(source: TokenizerSource): Promise<Inspection['tokenizer']> {
  const settings = source.from === 'tokenizer.json' ? source.config : summed(source.metadata, isTokenizerKey)
  try {
    const description = await describe(source)
    return { from: source.path, kind: description.model.kind, problem: null, slowPatterns: expressions(description), settings }
  } catch (error) {
    if (!(error instanceof InfernodeError)) throw error
    return { from: source.path, kind: null, problem: error.message, slowPatterns: [], settings }
  }
}

/** GGUF metadata as plain data: long arrays are only counted; 64-bit numbers become strings if a number would lose digits. */
function summed(metadata: ReadonlyMap<string, GgufValue>, keep: (key: string) => boolean): Record<string, unknown> {
  return Object.fromEntries([...metadata].filter(([key]) => keep(key)).map(([key, value]) => [key, plain(value)]))
}

function plain(value: GgufValue): unknown {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : String(value)
  if (typeof value !== 'object') return value
  if ('count' in value) return `${value.count} elements`
  return value.length > 16 ? `${value.length} elements` : value.map(plain)
}
