/** Rows of one quantized matrix, read in place, multiply as if they were matrices of their own. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import type { Checkpoint } from '../../src/formats/checkpoint.js'
import { openCheckpoint } from '../../src/formats/index.js'
import { compilePlan } from '../../src/graph/compile.js'
import { callNative, native } from '../../src/native.js'
import { rowBytes, tensorTypes, type TensorTypeName } from '../../src/tensor-types.js'
import { value, writeGguf } from '../support/gguf-writer.js'

const folder = mkdtempSync(join(tmpdir(), 'infernode-rows-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** Blocks of any bits, whose scale (first in these types) is the f16 of 1/64. */
function randomBlocks(type: TensorTypeName, values: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(rowBytes(type, values))
  let state = seed
  for (let i = 0; i < bytes.length; i++) bytes[i] = (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 24
  for (let at = 0; at < bytes.length; at += tensorTypes[type].blockBytes) bytes.set([0x00, 0x24], at)
  return bytes
}

interface Part {
  readonly name: string
  readonly rows: number
  readonly data: Uint8Array
}

const dim = 64
const ones = new Uint8Array(Float32Array.from({ length: dim }, () => 1).buffer)

/** Two layers; `stored` says how the parts of q, k, v and of gate, up are in the file. */
async function open(type: TensorTypeName, family: string, stored: (parts: readonly Part[]) => Part[]): Promise<Checkpoint> {
  let seed = 1
  const part = (name: string, rows: number): Part => ({ name, rows, data: randomBlocks(type, rows * dim, seed++) })
  const layers = [0, 1].flatMap((layer) => {
    const qkv = stored([part('attn_q', 64), part('attn_k', 32), part('attn_v', 32)])
    const gateUp = stored([part('ffn_gate', 64), part('ffn_up', 64)])
    const all = [...qkv, ...gateUp, part('attn_output', 64), part('ffn_down', 64)]
    return all.map((one) => ({ ...one, name: `blk.${layer}.${one.name}` }))
  })
  const matrices = [part('token_embd', 40), ...layers].map(({ name, rows, data }) => {
    return { name: `${name}.weight`, type, dims: [dim, rows], data }
  })
  const normNames = ['output_norm', 'blk.0.attn_norm', 'blk.0.ffn_norm', 'blk.1.attn_norm', 'blk.1.ffn_norm']
  const norms = normNames.map((name) => {
    return { name: `${name}.weight`, dims: [dim], data: ones }
  })
  const counts = {
    'embedding_length': dim,
    'feed_forward_length': 64,
    'block_count': 2,
    'attention.head_count': 4,
    'attention.head_count_kv': 2,
    'context_length': 64,
  }
  const metadata = [
    ['general.architecture', value('string', family)] as const,
    ...Object.entries(counts).map(([key, n]) => [`${family}.${key}`, value('u32', n)] as const),
    [`${family}.attention.layer_norm_rms_epsilon`, value('f32', 1e-5)] as const,
  ]
  const path = join(folder, `${family}-${type}.gguf`)
  writeFileSync(path, writeGguf({ metadata, tensors: [...matrices, ...norms] }).bytes)
  return openCheckpoint(path)
}

const fused = (parts: readonly Part[]): Part[] => {
  const name = parts[0]!.name === 'attn_q' ? 'attn_qkv' : 'ffn_up'
  const rows = parts.reduce((sum, part) => sum + part.rows, 0)
  return [{ name, rows, data: Buffer.concat(parts.map(({ data }) => data)) }]
}

async function logitsOf(checkpoint: Checkpoint): Promise<Float32Array> {
  const options = { threads: 2, isa: '', kvType: 'f32', cacheTokens: 128, batchTokens: 64, maxQueue: 1, mmap: true } as const
  const plan = JSON.stringify(await compilePlan(checkpoint))
  const engine = await callNative(() => native().createEngine(plan, null, options))
  try {
    const tokens = Int32Array.from({ length: 11 }, (_, t) => (7 * t) % 40)
    return (await callNative(() => engine.evaluate([{ sequence: 0, tokens }]))).logits!
  } finally {
    await engine.dispose()
  }
}

describe('rows of a matrix', () => {
  for (const type of ['q4_0', 'q5_0', 'q8_0'] as const) {
    it(`of ${type} give the same bits as matrices of their own`, async () => {
      const apart = await open(type, 'llama', (parts) => [...parts])
      const expected = await logitsOf({ ...apart, conventions: { ropePairing: 'half' } })
      const logits = await logitsOf(await open(type, 'phi3', fused))
      expect(expected.every(Number.isFinite)).toBe(true)
      expect(new Set(expected).size).toBeGreaterThan(100)
      expect(logits).toEqual(expected)
    })
  }
})
