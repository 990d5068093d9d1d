/** Checkpoints that exist only as headers: enough to build graphs and plans, nothing to run. */
import type { Checkpoint, GgufValue, TensorInfo } from '../../src/formats/checkpoint.js'
import { rowBytes, type TensorTypeName } from '../../src/tensor-types.js'

export type Tensors = Readonly<Record<string, readonly [TensorTypeName, readonly number[]]>>

export function madeOf(tensors: Tensors, more: Partial<Checkpoint> = {}): Checkpoint {
  let offset = 0
  const placed = Object.entries(tensors).map(([name, [type, shape]]): [string, TensorInfo] => {
    const bytes = rowBytes(type, shape.reduce((a, b) => a * b, 1))
    const tensor = { name, sourceName: name, type, shape, file: 0, offset, bytes }
    offset += bytes
    return [name, tensor]
  })
  return {
    format: 'safetensors',
    path: 'made',
    name: 'made',
    files: [{ path: 'made/model.safetensors', bytes: offset, mtimeMs: 0 }],
    modelType: 'llama',
    config: { from: 'hf', path: 'made/config.json', json: {} },
    conventions: { ropePairing: 'half' },
    tensors: new Map(placed),
    tokenizer: null,
    chatTemplate: null,
    generation: { eosTokenIds: [] },
    ...more,
  }
}

export const llamaConfig = {
  model_type: 'llama',
  hidden_size: 64,
  intermediate_size: 96,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 16,
  vocab_size: 50,
  max_position_embeddings: 128,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  hidden_act: 'silu',
  tie_word_embeddings: true,
}

/** The tensors of `llamaConfig`, matrices of one type unless named otherwise. */
export function llamaTensors(type: TensorTypeName = 'f32', others: Readonly<Record<string, TensorTypeName>> = {}): Tensors {
  const tensors: Record<string, readonly [TensorTypeName, readonly number[]]> = {
    'model.embed_tokens.weight': [type, [50, 64]],
    'model.norm.weight': ['f32', [64]],
  }
  for (let layer = 0; layer < 2; layer++) {
    const add = (name: string, shape: readonly number[]) => {
      const full = `model.layers.${layer}.${name}.weight`
      tensors[full] = [shape.length === 1 ? 'f32' : (others[name] ?? type), shape]
    }
    add('input_layernorm', [64])
    add('self_attn.q_proj', [64, 64])
    add('self_attn.k_proj', [32, 64])
    add('self_attn.v_proj', [32, 64])
    add('self_attn.o_proj', [64, 64])
    add('post_attention_layernorm', [64])
    add('mlp.gate_proj', [96, 64])
    add('mlp.up_proj', [96, 64])
    add('mlp.down_proj', [64, 96])
  }
  return tensors
}

/** A llama of two layers with a config that may be changed; undefined removes a field. */
export function madeLlama(changes: Readonly<Record<string, unknown>> = {}, tensors = llamaTensors()): Checkpoint {
  const json: Record<string, unknown> = { ...llamaConfig, ...changes }
  for (const [name, value] of Object.entries(json)) if (value === undefined) delete json[name]
  return madeOf(tensors, { config: { from: 'hf', path: 'made/config.json', json }, modelType: String(json.model_type) })
}

/** The same as GGUF metadata. */
export function madeGguf(changes: Readonly<Record<string, GgufValue | undefined>> = {}, tensors = llamaTensors()): Checkpoint {
  const metadata = new Map<string, GgufValue>()
  const entries: Record<string, GgufValue | undefined> = {
    'general.architecture': 'llama',
    'llama.embedding_length': 64,
    'llama.feed_forward_length': 96,
    'llama.block_count': 2,
    'llama.attention.head_count': 4,
    'llama.attention.head_count_kv': 2,
    'llama.context_length': 128,
    'llama.attention.layer_norm_rms_epsilon': Math.fround(1e-5),
    'llama.rope.freq_base': 10000,
    ...changes,
  }
  for (const [key, value] of Object.entries(entries)) if (value !== undefined) metadata.set(key, value)
  return madeOf(tensors, {
    format: 'gguf',
    path: 'made.gguf',
    config: { from: 'gguf', path: 'made.gguf', metadata },
    conventions: { ropePairing: 'interleaved' },
    modelType: String(metadata.get('general.architecture')),
  })
}
