/** GGUF's names and conventions per model family, as Hugging Face's: one entry per value of general.architecture. */
import type { Conventions } from './checkpoint.js'

/** Names without `.weight` or `.bias`, and without `blk.N.` for the block's. */
interface GgufFamily {
  readonly global: Readonly<Record<string, string>>
  readonly block: Readonly<Record<string, string>>
  /** What the names of block N begin with, before its number. Default: model.layers. */
  readonly layers?: string
  readonly conventions: Conventions
  /** The family that this one is with experts, where GGUF has one name for both. */
  readonly withExperts?: string
}

const decoder = {
  global: {
    token_embd: 'model.embed_tokens',
    output_norm: 'model.norm',
    output: 'lm_head',
    // Not in Hugging Face checkpoints, which compute the factors of llama3's rope from the config.
    rope_freqs: 'rope_freqs',
    rope_factors_long: 'rope_factors_long',
    rope_factors_short: 'rope_factors_short',
  },
  block: {
    attn_norm: 'input_layernorm',
    attn_q: 'self_attn.q_proj',
    attn_k: 'self_attn.k_proj',
    attn_v: 'self_attn.v_proj',
    attn_output: 'self_attn.o_proj',
    ffn_gate: 'mlp.gate_proj',
    ffn_up: 'mlp.up_proj',
    ffn_down: 'mlp.down_proj',
  },
} as const

/** Llama's shape. Its converter permutes the rows of q and k so that neighbours rotate together. */
const llama: GgufFamily = {
  global: decoder.global,
  block: { ...decoder.block, ffn_norm: 'post_attention_layernorm' },
  conventions: { ropePairing: 'interleaved' },
}

/** The same where the converter leaves the rows as they are. */
const unpermuted: GgufFamily = { ...llama, conventions: { ropePairing: 'half' } }

const headNorms = { attn_q_norm: 'self_attn.q_norm', attn_k_norm: 'self_attn.k_norm' } as const

/** Stacks [experts, out, in]; Hugging Face has each matrix by itself, with the expert's number after `experts`. */
const qwenExperts = {
  ffn_gate_inp: 'mlp.gate',
  ffn_gate_exps: 'mlp.experts.gate_proj',
  ffn_up_exps: 'mlp.experts.up_proj',
  ffn_down_exps: 'mlp.experts.down_proj',
} as const

/** Around both halves of a block, from Gemma 2 on. */
const gemmaNorms = {
  post_attention_norm: 'post_attention_layernorm',
  ffn_norm: 'pre_feedforward_layernorm',
  post_ffw_norm: 'post_feedforward_layernorm',
} as const

const families: Readonly<Record<string, GgufFamily>> = {
  // Also Mistral and others of the same shape, and Mixtral.
  llama: {
    ...llama,
    block: {
      ...llama.block,
      ffn_gate_inp: 'block_sparse_moe.gate',
      ffn_gate_exps: 'block_sparse_moe.experts.w1',
      ffn_up_exps: 'block_sparse_moe.experts.w3',
      ffn_down_exps: 'block_sparse_moe.experts.w2',
    },
    withExperts: 'mixtral',
  },
  smollm3: llama,
  qwen2: unpermuted,
  qwen3: { ...unpermuted, block: { ...unpermuted.block, ...headNorms } },
  qwen3moe: { ...unpermuted, block: { ...unpermuted.block, ...headNorms, ...qwenExperts } },
  // Here ffn_up is what Hugging Face calls gate_up_proj: the rows of gate, then those of up.
  phi3: {
    ...unpermuted,
    block: { ...unpermuted.block, attn_qkv: 'self_attn.qkv_proj', ffn_up: 'mlp.gate_up_proj' },
  },
  // Like Gemma 3's converter, it adds 1 to every norm's weight.
  gemma: unpermuted,
  // The converter turns Conv1D's matrices, so they are [out, in] here.
  gpt2: {
    global: {
      token_embd: 'transformer.wte',
      position_embd: 'transformer.wpe',
      output_norm: 'transformer.ln_f',
      output: 'lm_head',
    },
    layers: 'transformer.h',
    block: {
      attn_norm: 'ln_1',
      attn_qkv: 'attn.c_attn',
      attn_output: 'attn.c_proj',
      ffn_norm: 'ln_2',
      ffn_up: 'mlp.c_fc',
      ffn_down: 'mlp.c_proj',
    },
    conventions: { ropePairing: 'half' },
  },
  gemma2: { global: decoder.global, block: { ...decoder.block, ...gemmaNorms }, conventions: { ropePairing: 'half' } },
  // Its converter adds 1 to every norm's weight, so here nothing is left to add.
  gemma3: {
    global: decoder.global,
    block: {
      ...decoder.block,
      ...headNorms,
      ...gemmaNorms,
    },
    conventions: { ropePairing: 'half' },
  },
}

const familyOf = (architecture: string): GgufFamily | null =>
  Object.hasOwn(families, architecture) ? families[architecture]! : null

/** Hugging Face's name of a family, where GGUF calls it something else. */
export function ggufModelType(architecture: string, nExperts: number): string {
  return (nExperts > 0 ? familyOf(architecture)?.withExperts : undefined) ?? architecture
}

/** Null where the architecture is not in the table. */
export function ggufConventions(architecture: string): Conventions | null {
  return familyOf(architecture)?.conventions ?? null
}

/**
 * The Hugging Face name of a tensor. A name that the table does not have stays as it is: an architecture that needs it will
 * say so, and one that does not know it will say that too.
 */
export function canonicalName(architecture: string, name: string): string {
  const family = familyOf(architecture)
  const parts = /^(?:blk\.(0|[1-9]\d{0,4})\.)?([a-z0-9_]+)\.(weight|bias)$/.exec(name)
  if (!family || !parts) return name
  const [, layer, stem, suffix] = parts as unknown as [string, string | undefined, string, string]
  const names = layer === undefined ? family.global : family.block
  if (!Object.hasOwn(names, stem)) return name
  return `${layer === undefined ? '' : `${family.layers ?? 'model.layers'}.${layer}.`}${names[stem]}.${suffix}`
}

/** GGUF's name of a tensor with a Hugging Face name; null where the architecture's row has none. */
export function ggufName(architecture: string, name: string): string | null {
  const family = familyOf(architecture)
  const parts = /^(?:(.+)\.(0|[1-9]\d{0,4})\.)?(.+)\.(weight|bias)$/.exec(name)
  if (!family || !parts) return null
  const [, layers, layer, stem, suffix] = parts as unknown as [string, string | undefined, string | undefined, string, string]
  if (layers !== undefined && layers !== (family.layers ?? 'model.layers')) return null
  const names = Object.entries(layer === undefined ? family.global : family.block)
  const found = names.find(([, canonical]) => canonical === stem)
  return found ? `${layer === undefined ? '' : `blk.${layer}.`}${found[0]}.${suffix}` : null
}
