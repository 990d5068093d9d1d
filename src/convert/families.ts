/** What GGUF says of each family's config, under which architecture: the inverse of what src/architectures reads from it. */
import type { BaseConfig, DecoderConfig } from '../architectures/architecture.js'
import { configFields } from '../architectures/config-fields.js'
import type { ExpertConfig } from '../architectures/experts.js'
import { readRopeScaling, type RopeScaling, sharpness } from '../architectures/rope.js'
import { InfernodeError } from '../errors.js'
import type { Checkpoint } from '../formats/checkpoint.js'
import { ggufArray, ggufValue, type GgufWriterValue } from '../formats/gguf-writer.js'

export interface Conversion {
  /** GGUF's general.architecture. */
  readonly architecture: string
  /** Keys without the architecture's prefix. */
  readonly metadata: ReadonlyMap<string, GgufWriterValue>
  readonly headDim: number
  readonly vocabSize: number
  /** Tensors that Hugging Face computes and GGUF stores. */
  readonly computed: readonly { readonly name: string; readonly values: Float32Array }[]
  /** What a tensor's values are multiplied by, after all else: where GGUF has no key for a factor, a weight takes it. */
  scaleOf(name: string): Scale | null
  readonly remarks: readonly string[]
}

/** `rows`: only the first so many. */
export interface Scale {
  readonly scale: number
  readonly rows?: number
}

type Entries = Record<string, GgufWriterValue>
interface Family {
  readonly architecture: string
  /** Entries beside those that all decoders have. */
  readonly extra?: (checkpoint: Checkpoint, config: any) => Entries
  readonly scaleOf?: (config: any) => (name: string) => Scale | null
  readonly remarks?: (config: any) => string[]
  /** Instead of what decoders with rotary positions have. */
  readonly entries?: (checkpoint: Checkpoint, config: any) => Entries
  /** Kinds of layers have rotary parameters of their own, written by `extra`. */
  readonly ownRope?: boolean
}

const u32 = (value: number): GgufWriterValue => ggufValue('u32', value)
const f32 = (value: number): GgufWriterValue => ggufValue('f32', value)

/** By config.json's model_type. */
const families: Readonly<Record<string, Family>> = {
  llama: { architecture: 'llama' },
  mistral: { architecture: 'llama', remarks: everyWindowRemark },
  mixtral: { architecture: 'llama', extra: expertEntries, remarks: everyWindowRemark },
  qwen2: { architecture: 'qwen2', extra: windowsOfLayers, remarks: windowRemark },
  qwen3: { architecture: 'qwen3', extra: windowsOfLayers, remarks: windowRemark },
  qwen3_moe: {
    architecture: 'qwen3moe',
    extra: (checkpoint, config) => ({ ...windowsOfLayers(checkpoint, config), ...expertEntries(checkpoint, config) }),
    remarks: (config) => [...windowRemark(config), ...denseRemark(config)],
  },
  phi3: {
    architecture: 'phi3',
    extra: (_, config: DecoderConfig) => ({
      // 0 would be read as no window, absence as the window that early files left out.
      'attention.sliding_window': u32(config.window),
      'rope.scaling.original_context_length': u32(config.rope.long?.shortLength ?? config.contextLength),
    }),
    remarks: everyWindowRemark,
  },
  smollm3: { architecture: 'smollm3', extra: rotaryLayers, remarks: rotaryRemark },
  gpt2: { architecture: 'gpt2', entries: gpt2Entries, scaleOf: gpt2Scale },
  gemma: { architecture: 'gemma' },
  gemma2: { architecture: 'gemma2', extra: gemma2Entries, scaleOf: gemma2Scale },
  gemma3_text: { architecture: 'gemma3', ownRope: true, extra: gemma3Entries, scaleOf: gemma3Scale, remarks: patternRemark },
}

/** `config` as the architecture's `readConfig` gave it. Throws FORMAT_UNSUPPORTED for a family without a row. */
export function conversionOf(checkpoint: Checkpoint, base: BaseConfig): Conversion {
  const family = Object.hasOwn(families, checkpoint.modelType) ? families[checkpoint.modelType]! : null
  if (!family)
    throw new InfernodeError(
      'FORMAT_UNSUPPORTED',
      checkpoint.path,
      'model_type',
      `"${checkpoint.modelType}" cannot be converted to GGUF yet; ${Object.keys(families).join(', ')} can`,
    )
  const config = base as DecoderConfig
  const scaling = family.ownRope || family.entries ? ({ type: 'none' } as const) : readRopeScaling(configFields(checkpoint), sizesOf(config))
  const entries: Entries = {
    ...(family.entries?.(checkpoint, base) ?? decoderEntries(config)),
    ...scalingEntries(scaling),
    ...family.extra?.(checkpoint, config),
  }
  return {
    architecture: family.architecture,
    metadata: new Map(Object.entries(entries)),
    headDim: config.headDim,
    vocabSize: config.vocabSize,
    computed: computedFactors(config, scaling),
    scaleOf: family.scaleOf?.(config) ?? (() => null),
    remarks: family.remarks?.(config) ?? [],
  }
}

const sizesOf = ({ contextLength, headDim }: DecoderConfig) => ({ contextLength, ropeDim: headDim })

function decoderEntries(c: DecoderConfig): Entries {
  return {
    vocab_size: u32(c.vocabSize),
    context_length: u32(c.contextLength),
    embedding_length: u32(c.dim),
    block_count: u32(c.nLayers),
    feed_forward_length: u32(c.ffnDim),
    'attention.head_count': u32(c.nHeads),
    'attention.head_count_kv': u32(c.nKvHeads),
    'attention.key_length': u32(c.headDim),
    'attention.value_length': u32(c.headDim),
    'attention.layer_norm_rms_epsilon': f32(c.normEps),
    'rope.dimension_count': u32(c.headDim),
    'rope.freq_base': f32(c.ropeTheta),
    ...(c.window > 0 ? { 'attention.sliding_window': u32(c.window) } : {}),
  }
}

function scalingEntries(scaling: RopeScaling): Entries {
  switch (scaling.type) {
    case 'none':
    // Says itself in the tensor rope_freqs.
    case 'llama3':
      return {}
    case 'linear':
      return { 'rope.scaling.type': ggufValue('string', 'linear'), 'rope.scaling.factor': f32(scaling.factor) }
    // The factors are tensors.
    case 'longrope':
      return {
        'rope.scaling.type': ggufValue('string', 'longrope'),
        'rope.scaling.attn_factor': f32(scaling.attentionFactor),
        'rope.scaling.original_context_length': u32(scaling.originalContextLength),
      }
    case 'yarn': {
      const { factor, betaFast, betaSlow, originalContextLength, attentionFactor } = scaling
      // YaRN's own factor follows from the other one; what differs from it has a key.
      const usual = sharpness(factor)
      return {
        'rope.scaling.type': ggufValue('string', 'yarn'),
        'rope.scaling.factor': f32(factor),
        'rope.scaling.original_context_length': u32(originalContextLength),
        'rope.scaling.yarn_beta_fast': f32(betaFast),
        'rope.scaling.yarn_beta_slow': f32(betaSlow),
        ...(attentionFactor === usual ? {} : { 'rope.scaling.attn_factor': f32(attentionFactor / usual) }),
      }
    }
  }
}

/** What each frequency is divided by: [headDim / 2]. */
function computedFactors({ rope, ropeTheta, headDim }: DecoderConfig, scaling: RopeScaling): Conversion['computed'] {
  if (scaling.type === 'longrope')
    return [
      { name: 'rope_factors_long.weight', values: Float32Array.from(scaling.long) },
      { name: 'rope_factors_short.weight', values: Float32Array.from(scaling.short) },
    ]
  if (scaling.type !== 'llama3') return []
  const values = Float32Array.from(rope.frequencies, (frequency, i) => ropeTheta ** ((-2 * i) / headDim) / frequency)
  return [{ name: 'rope_freqs.weight', values }]
}

// Experts

type Experts = DecoderConfig & ExpertConfig & { readonly expertFfnDim?: number; readonly gating?: string }

function expertEntries(checkpoint: Checkpoint, { nExperts, nActiveExperts, expertFfnDim, gating }: Experts): Entries {
  if (gating === 'softmax')
    throw configFields(checkpoint).unsupported('norm_topk_prob', 'readers of GGUF let the weights of the chosen experts sum to 1')
  return {
    expert_count: u32(nExperts),
    expert_used_count: u32(nActiveExperts),
    ...(expertFfnDim === undefined ? {} : { expert_feed_forward_length: u32(expertFfnDim) }),
  }
}

function denseRemark({ sparse }: { readonly sparse: readonly boolean[] }): string[] {
  return sparse.includes(false) ? ['some layers have no experts: infernode reads such a file, llama.cpp does not'] : []
}

// Qwen 2 and 3: windows of some layers

type Windows = DecoderConfig & { readonly windows: readonly number[] }

function windowsOfLayers(_: Checkpoint, { windows }: Windows): Entries {
  const window = Math.max(...windows)
  if (window === 0) return {}
  return {
    'attention.sliding_window': u32(window),
    'attention.sliding_window_pattern': ggufArray('bool', windows.map((each) => each > 0)),
  }
}

function windowRemark({ windows, contextLength }: Windows): string[] {
  const window = Math.max(...windows)
  return window === 0 || window >= contextLength
    ? []
    : [`some layers have a window of ${window} positions: infernode reads that from the file, llama.cpp does not`]
}

function everyWindowRemark({ window, contextLength }: DecoderConfig): string[] {
  return window === 0 || window >= contextLength
    ? []
    : [`layers have a window of ${window} positions: infernode reads that from the file, llama.cpp does not for this architecture`]
}

// SmolLM 3: layers without positions

type Rotary = DecoderConfig & { readonly rotary: readonly boolean[] }
const isUsualRotary = ({ rotary }: Rotary): boolean => rotary.every((turns, i) => turns === ((i + 1) % 4 !== 0))

function rotaryLayers(_: Checkpoint, config: Rotary): Entries {
  return isUsualRotary(config) ? {} : { 'rope.layer_pattern': ggufArray('bool', config.rotary) }
}

function rotaryRemark(config: Rotary): string[] {
  return isUsualRotary(config)
    ? []
    : ['other layers than every fourth have no positions: infernode reads that from the file, llama.cpp does not']
}

// GPT-2

interface Gpt2 extends BaseConfig {
  readonly dim: number
  readonly ffnDim: number
  readonly nLayers: number
  readonly nHeads: number
  readonly normEps: number
  readonly activation: 'gelu' | 'geluTanh'
  readonly attentionScales: readonly number[]
}

function gpt2Entries(checkpoint: Checkpoint, c: Gpt2): Entries {
  if (c.activation !== 'geluTanh')
    throw configFields(checkpoint).unsupported('activation_function', 'readers of GGUF compute the tanh form of GELU')
  return {
    vocab_size: u32(c.vocabSize),
    context_length: u32(c.contextLength),
    embedding_length: u32(c.dim),
    block_count: u32(c.nLayers),
    feed_forward_length: u32(c.ffnDim),
    'attention.head_count': u32(c.nHeads),
    'attention.layer_norm_epsilon': f32(c.normEps),
  }
}

/** Readers take the head's size for the scores' scale; the rows of q make up for another one. */
function gpt2Scale({ dim, nHeads, attentionScales }: Gpt2): (name: string) => Scale | null {
  return (name) => {
    const layer = /\.h\.(\d+)\.attn\.c_attn\./.exec(name)?.[1]
    return layer === undefined ? null : { scale: attentionScales[Number(layer)]! * Math.sqrt(dim / nHeads), rows: dim }
  }
}

// Gemma 2

interface Gemma2 extends DecoderConfig {
  readonly windows: readonly number[]
  readonly attentionScale: number
  readonly attentionSoftcap: number
  readonly logitSoftcap: number
}

function gemma2Entries(checkpoint: Checkpoint, { windows, attentionSoftcap, logitSoftcap }: Gemma2): Entries {
  const window = Math.max(...windows)
  if (windows.some((each, i) => each !== (i % 2 === 0 ? window : 0)))
    throw configFields(checkpoint).unsupported('layer_types', 'in GGUF files of Gemma 2 every other layer slides, from the first on')
  return {
    'attention.sliding_window': u32(window),
    attn_logit_softcapping: f32(attentionSoftcap),
    final_logit_softcapping: f32(logitSoftcap),
  }
}

/** As for Gemma 3, but there is no norm of queries: their matrix takes the factor. */
function gemma2Scale({ attentionScale, headDim, nLayers, dim, nHeads }: Gemma2): (name: string) => Scale | null {
  const read = 1 / Math.sqrt(nLayers === 46 ? dim / nHeads : headDim)
  return (name) => (/\.self_attn\.q_proj\./.test(name) ? { scale: attentionScale / read } : null)
}

// Gemma 3: two kinds of layers

type Gemma3 = DecoderConfig & { readonly layers: readonly { readonly window: number }[]; readonly attentionScale: number }

const gemma3Kinds = ({ layers }: Gemma3): boolean[] => layers.map(({ window }) => window > 0)
const isUsualPattern = (config: Gemma3): boolean => gemma3Kinds(config).every((slides, i) => slides === ((i + 1) % 6 !== 0))

function gemma3Entries(checkpoint: Checkpoint, config: Gemma3): Entries {
  const fields = configFields(checkpoint)
  const perKind = fields.object('rope_parameters') as Record<string, Record<string, unknown>> | undefined
  const { full_attention: full, sliding_attention: sliding } = perKind ?? {}
  const scaling = readRopeScaling(fields, sizesOf(config), full ?? fields.object('rope_scaling') ?? {})
  const localScaling = readRopeScaling(fields, sizesOf(config), sliding ?? {})
  if (scaling.type === 'llama3' || scaling.type === 'longrope' || localScaling.type !== 'none')
    throw fields.unsupported('rope_parameters', 'GGUF files of Gemma 3 have no place for this scaling')
  const theta = fields.number('rope_theta', full?.rope_theta ?? fields.raw('ropeTheta') ?? 1_000_000)
  const localTheta = fields.number('rope_theta', sliding?.rope_theta ?? fields.raw('rope_local_base_freq') ?? 10_000)
  return {
    ...scalingEntries(scaling),
    'rope.freq_base': f32(theta),
    'rope.freq_base_swa': f32(localTheta),
    'attention.sliding_window': u32(fields.count('window', { fallback: 4096 })),
    ...(isUsualPattern(config) ? {} : { 'attention.sliding_window_pattern': ggufArray('bool', gemma3Kinds(config)) }),
  }
}

/** Readers of GGUF take the head's size for query_pre_attn_scalar; the norm of the queries makes up for another one. */
function gemma3Scale({ attentionScale, headDim, nLayers, dim, nHeads }: Gemma3): (name: string) => Scale | null {
  const read = 1 / Math.sqrt(nLayers === 62 ? dim / nHeads : headDim)
  return (name) => (name.endsWith('.self_attn.q_norm.weight') ? { scale: attentionScale / read } : null)
}

function patternRemark(config: Gemma3): string[] {
  return isUsualPattern(config)
    ? []
    : ['other layers than every sixth see all positions: infernode reads that from the file, llama.cpp may not']
}

