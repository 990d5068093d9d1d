/** Families whose goldens are Hugging Face folders only, as GGUF: written here as llama.cpp's converter would. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { openCheckpoint } from '../../src/formats/index.js'
import { compilePlan } from '../../src/graph/compile.js'
import { type GgufWriterValue, value, writeGguf } from '../support/gguf-writer.js'
import { type Golden, goldenRows, largestDifference, readGolden, readTensors } from '../support/goldens.js'
import { runPlan } from './run-plan.js'

const folder = mkdtempSync(join(tmpdir(), 'infernode-made-gguf-'))
afterAll(() => rmSync(folder, { recursive: true }))

const stems: Readonly<Record<string, string>> = {
  'model.embed_tokens': 'token_embd',
  'model.norm': 'output_norm',
  'lm_head': 'output',
  'input_layernorm': 'attn_norm',
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  'post_attention_layernorm': 'ffn_norm',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
  'self_attn.qkv_proj': 'attn_qkv',
  'mlp.gate_up_proj': 'ffn_up',
}

function ggufName(name: string): string {
  const [, layer, stem, suffix] = /^(?:model\.layers\.(\d+)\.)?(.+)\.(weight|bias)$/.exec(name)!
  return `${layer === undefined ? '' : `blk.${layer}.`}${stems[stem!]!}.${suffix!}`
}

/** Rows of each head, halves (first, second) → neighbours. */
function interleaveRows(data: Float64Array, [rows, width]: readonly number[], nHeads: number): Float64Array {
  const perHead = rows! / nHeads
  return data.map((_, at) => {
    const [row, column] = [Math.floor(at / width!), at % width!]
    const [head, within] = [Math.floor(row / perHead), row % perHead]
    const from = head * perHead + (within % 2) * (perHead / 2) + Math.floor(within / 2)
    return data[from * width! + column]!
  })
}

interface Conversion {
  readonly addToNorms?: number
  readonly interleaved?: boolean
  /** Further f32 vectors. */
  readonly vectors?: Readonly<Record<string, readonly number[]>>
  /** Further metadata, without the architecture's prefix. */
  readonly metadata?: Readonly<Record<string, GgufWriterValue>>
}

function convert(golden: Golden, { addToNorms = 0, interleaved = false, vectors = {}, metadata: more = {} }: Conversion = {}): string {
  const config = JSON.parse(readFileSync(join(golden.folder, 'config.json'), 'utf8'))
  const name = config.model_type as string
  const heads = { q: config.num_attention_heads as number, k: config.num_key_value_heads as number }
  const tensors = [...readTensors(join(golden.folder, 'model.safetensors'))].map(([name, { shape, data }]) => {
    const turned = /self_attn\.([qk])_proj\.weight$/.exec(name)?.[1] as 'q' | 'k' | undefined
    let values = data
    if (name.endsWith('norm.weight')) values = data.map((x) => x + addToNorms)
    if (turned && interleaved) values = interleaveRows(data, shape, heads[turned])
    return { name: ggufName(name), dims: [...shape].reverse(), data: new Uint8Array(Float32Array.from(values).buffer) }
  })
  for (const [name, values] of Object.entries(vectors)) {
    tensors.push({ name, dims: [values.length], data: new Uint8Array(Float32Array.from(values).buffer) })
  }
  const headDim = (config.head_dim ?? config.hidden_size / heads.q) as number
  const count = (key: string, n: number) => [`${name}.${key}`, value('u32', n)] as const
  const metadata = [
    ['general.architecture', value('string', name)] as const,
    count('embedding_length', config.hidden_size),
    count('feed_forward_length', config.intermediate_size),
    count('block_count', config.num_hidden_layers),
    count('attention.head_count', heads.q),
    count('attention.head_count_kv', heads.k),
    count('attention.key_length', headDim),
    count('attention.value_length', headDim),
    count('rope.dimension_count', headDim),
    count('context_length', config.max_position_embeddings),
    [`${name}.attention.layer_norm_rms_epsilon`, value('f32', config.rms_norm_eps)] as const,
    [`${name}.rope.freq_base`, value('f32', config.rope_parameters.rope_theta)] as const,
    ...Object.entries(more).map(([key, entry]) => [`${name}.${key}`, entry] as const),
  ]
  const path = join(folder, `${name}.gguf`)
  writeFileSync(path, writeGguf({ metadata, tensors }).bytes)
  return path
}

describe('golden reference: made GGUF', () => {
  const gemma = readGolden('gemma')
  it.skipIf(!gemma)('gemma, its norms with 1 added, gives the logits of Hugging Face', async () => {
    const plan = await compilePlan(await openCheckpoint(convert(gemma!, { addToNorms: 1 })))
    for (const row of goldenRows(gemma!)) {
      const logits = runPlan(plan, row).get('logits')!.data
      expect(largestDifference(logits, row.expected('logits'))).toBeLessThanOrEqual(gemma!.tolerance.logits!.atol)
    }
  })

  const phi3 = readGolden('phi3_longrope')
  it.skipIf(!phi3)('phi3_longrope, its factors in tensors, gives the logits of Hugging Face for long and short texts', async () => {
    const { rope_parameters: rope } = JSON.parse(readFileSync(join(phi3!.folder, 'config.json'), 'utf8'))
    const path = convert(phi3!, {
      vectors: { 'rope_factors_long.weight': rope.long_factor, 'rope_factors_short.weight': rope.short_factor },
      metadata: {
        'rope.scaling.original_context_length': value('u32', 16),
        'rope.scaling.attn_factor': value('f32', Math.sqrt(1 + Math.log(36 / 16) / Math.log(16))),
      },
    })
    const plan = await compilePlan(await openCheckpoint(path))
    const short = { tokens: [...phi3!.tensors.get('short.input_ids')!.data], expected: () => phi3!.tensors.get('short.logits')!.data }
    for (const row of [...goldenRows(phi3!), short]) {
      const logits = runPlan(plan, row).get('logits')!.data
      expect(largestDifference(logits, row.expected('logits'))).toBeLessThanOrEqual(phi3!.tolerance.logits!.atol)
    }
  })

  // GGUF has no field for layers without positions: every fourth is one. The golden has two layers, its second without.
  const smollm3 = readGolden('smollm3')
  it.skipIf(!smollm3)('smollm3, its rows permuted, computes what the folder does with the same layers', async () => {
    const checkpoint = await openCheckpoint(smollm3!.folder)
    if (checkpoint.config.from !== 'hf') throw new Error('not a folder')
    const json = { ...checkpoint.config.json, no_rope_layers: [1, 1] }
    const expected = await compilePlan({ ...checkpoint, config: { ...checkpoint.config, json } })
    const plan = await compilePlan(await openCheckpoint(convert(smollm3!, { interleaved: true })))
    for (const row of goldenRows(smollm3!)) {
      const [ours, theirs] = [plan, expected].map((one) => runPlan(one, row).get('logits')!.data)
      expect(largestDifference(ours!, theirs!)).toBeLessThanOrEqual(smollm3!.tolerance.logits!.atol)
    }
  })
})
