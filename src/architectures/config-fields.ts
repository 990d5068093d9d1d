/**
 * Reads single fields of a config by the house's names, from either format; every problem is an error with file, field and
 * reason.
 */
import { InfernodeError } from '../errors.js'
import type { Checkpoint, GgufValue } from '../formats/checkpoint.js'

/** House name → Hugging Face key, GGUF key without the architecture's prefix, Hugging Face key of GPT-2's days. */
const outsideNames = {
  dim: ['hidden_size', 'embedding_length', 'n_embd'],
  ffnDim: ['intermediate_size', 'feed_forward_length', 'n_inner'],
  nLayers: ['num_hidden_layers', 'block_count', 'n_layer'],
  nHeads: ['num_attention_heads', 'attention.head_count', 'n_head'],
  nKvHeads: ['num_key_value_heads', 'attention.head_count_kv'],
  headDim: ['head_dim', 'attention.key_length'],
  valueDim: ['v_head_dim', 'attention.value_length'],
  contextLength: ['max_position_embeddings', 'context_length', 'n_positions'],
  normEps: ['rms_norm_eps', 'attention.layer_norm_rms_epsilon'],
  layerNormEps: ['layer_norm_epsilon', 'attention.layer_norm_epsilon'],
  ropeTheta: ['rope_theta', 'rope.freq_base'],
  ropeDim: ['rotary_dim', 'rope.dimension_count'],
  vocabSize: ['vocab_size', 'vocab_size'],
  nExperts: ['num_local_experts', 'expert_count'],
  nActiveExperts: ['num_experts_per_tok', 'expert_used_count'],
  expertFfnDim: ['moe_intermediate_size', 'expert_feed_forward_length'],
  window: ['sliding_window', 'attention.sliding_window'],
} as const
export type HouseName = keyof typeof outsideNames

/** More than any model has; a config with more is damaged or hostile, and would cost memory before weights contradict it. */
const mostOf: Partial<Record<HouseName, number>> = { nLayers: 4096, headDim: 65536, ropeDim: 65536, nExperts: 65536 }

export class ConfigFields {
  constructor(
    readonly from: 'hf' | 'gguf',
    /** The file that errors name. */
    readonly file: string,
    private readonly prefix: string,
    private readonly lookUp: (key: string) => unknown,
  ) {}

  /** The key as the file spells it. */
  key(name: string): string {
    const [key, gguf, older]: readonly (string | undefined)[] = Object.hasOwn(outsideNames, name)
      ? outsideNames[name as HouseName]
      : [name, name]
    if (this.from === 'gguf') return `${this.prefix}${gguf}`
    return older !== undefined && this.lookUp(key!) === undefined && this.lookUp(older) !== undefined ? older : key!
  }

  /** The value as it is; undefined where it is absent, or null in JSON. */
  raw(name: string): unknown {
    // Both styles of Hugging Face: transformers 5 moved the base into rope_parameters.
    const moved = this.from === 'hf' && name === 'ropeTheta' ? this.object('rope_parameters')?.rope_theta : undefined
    return moved ?? this.lookUp(this.key(name)) ?? undefined
  }

  /** Null in JSON: said to have no value, where an absent field has the family's default. */
  isNull(name: string): boolean {
    return this.lookUp(this.key(name)) === null
  }

  /** A whole number above 0 (from 0 with `zero`), small enough for every index. Without a fallback the field is required. */
  count(name: string, { fallback, zero = false }: { fallback?: number | undefined; zero?: boolean } = {}): number {
    let value = this.raw(name)
    if (typeof value === 'bigint' && value <= 2n ** 53n) value = Number(value)
    if (value === undefined) return this.orElse(name, fallback)
    const most = mostOf[name as HouseName] ?? 2 ** 31 - 1
    const valid = typeof value === 'number' && Number.isInteger(value) && value >= (zero ? 0 : 1) && value <= most
    this.expect(name, valid, `expected a whole number from ${zero ? 0 : 1} to ${most}, found ${show(value)}`)
    return value as number
  }

  /** A finite number above 0. Without a fallback the field is required. */
  positive(name: string, { fallback }: { fallback?: number | undefined } = {}): number {
    return this.number(name, this.raw(name) ?? this.orElse(name, fallback))
  }

  /** Checks a value found elsewhere (inside `rope_scaling`), under a name for the error. */
  number(name: string, value: unknown): number {
    const valid = typeof value === 'number' && Number.isFinite(value) && value > 0
    this.expect(name, valid, `expected a positive number, found ${show(value)}`)
    return value as number
  }

  flag(name: string, fallback: boolean): boolean {
    const value = this.raw(name) ?? fallback
    this.expect(name, typeof value === 'boolean', `expected true or false, found ${show(value)}`)
    return value as boolean
  }

  object(name: string): Readonly<Record<string, unknown>> | undefined {
    const value = this.lookUp(this.key(name)) ?? undefined
    if (value === undefined) return undefined
    this.expect(name, typeof value === 'object' && !Array.isArray(value), `expected an object, found ${show(value)}`)
    return value as Record<string, unknown>
  }

  expect(name: string, valid: boolean, reason: string): void {
    if (!valid) throw new InfernodeError('CONFIG_INVALID', this.file, this.key(name), reason)
  }

  /** A field that changes the computation in a way that we do not know: only its neutral values pass. */
  expectNeutral(name: string, neutral: number | boolean, alsoNeutral: readonly (number | boolean)[] = []): void {
    const value = this.raw(name)
    if (value === undefined || value === neutral || alsoNeutral.includes(value as number)) return
    throw this.unsupported(name, `only ${neutral} is supported, found ${show(value)}`)
  }

  expectAbsent(name: string, reason: string): void {
    if (this.raw(name) !== undefined) throw this.unsupported(name, reason)
  }

  expectOneOf(name: string, known: readonly string[]): void {
    const value = this.raw(name)
    if (value !== undefined && !known.includes(value as string)) {
      throw this.unsupported(name, `only ${known.join(', ')} is supported, found ${show(value)}`)
    }
  }

  unsupported(name: string, reason: string): InfernodeError {
    return new InfernodeError('FORMAT_UNSUPPORTED', this.file, this.key(name), reason)
  }

  private orElse(name: string, fallback: number | undefined): number {
    if (fallback === undefined) throw new InfernodeError('CONFIG_INVALID', this.file, this.key(name), 'is missing')
    return fallback
  }
}

export function configFields({ config }: Checkpoint): ConfigFields {
  if (config.from === 'hf') {
    const { json } = config
    return new ConfigFields('hf', config.path, '', (key) => (Object.hasOwn(json, key) ? json[key] : undefined))
  }
  const { metadata } = config
  const family: GgufValue | undefined = metadata.get('general.architecture')
  return new ConfigFields('gguf', config.path, `${String(family)}.`, (key) => metadata.get(key))
}

/** A value in an error, short enough to read. */
export function show(value: unknown): string {
  // JSON has no bigint, GGUF has.
  const text = JSON.stringify(value, (_, inner) => (typeof inner === 'bigint' ? Number(inner) : inner)) ?? String(value)
  return text.length > 60 ? `${text.slice(0, 57)}…` : text
}
