/** Where the golden fixtures are, and how to read them. INFERNODE_GOLDENS names another set of the same layout. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Golden folders in Hugging Face's form whose families infernode has. */
export const huggingFace = [
  'llama',
  'llama_bias_tied',
  'llama_rope_linear',
  'llama_rope_llama3',
  'llama_rope_yarn',
  'mistral',
  'mixtral',
  'qwen2',
  'qwen2_sliding',
  'qwen3',
  'qwen3_moe',
  'phi3',
  'phi3_longrope',
  'gemma',
  'gemma2',
  'gemma3_text',
  'smollm3',
  'gpt2',
  'gpt2_inverse_layer_scale',
]

export const goldensFolder = process.env.INFERNODE_GOLDENS ?? fileURLToPath(new URL('../fixtures/goldens', import.meta.url))

export interface GoldenTensor {
  readonly shape: readonly number[]
  readonly data: Float64Array
}

export interface Golden {
  readonly folder: string
  readonly tensors: ReadonlyMap<string, GoldenTensor>
  readonly tolerance: Readonly<Record<string, { readonly atol: number }>>
  readonly greedyTokens: number
}

/** Null, after saying so, where the set lacks this one. */
export function readGolden(name: string): Golden | null {
  const folder = join(goldensFolder, name)
  if (!existsSync(join(folder, 'golden.safetensors'))) {
    console.warn(`SKIPPED: there is no golden ${name} in ${goldensFolder}`)
    return null
  }
  const { tolerance, generation } = JSON.parse(readFileSync(join(folder, 'golden.json'), 'utf8'))
  return { folder, tolerance, greedyTokens: generation.tokens, tensors: readTensors(join(folder, 'golden.safetensors')) }
}

/** All tensors of a small safetensors file as float64: F32, I64 and U8 are what goldens have. */
export function readTensors(path: string): Map<string, GoldenTensor> {
  const bytes = readFileSync(path)
  const headerBytes = Number(bytes.readBigUInt64LE(0))
  const header: Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }> = JSON.parse(
    bytes.toString('utf8', 8, 8 + headerBytes),
  )
  const readers: Record<string, [number, (at: number) => number]> = {
    F32: [4, (at) => bytes.readFloatLE(at)],
    I64: [8, (at) => Number(bytes.readBigInt64LE(at))],
    U8: [1, (at) => bytes.readUInt8(at)],
  }
  const tensors = new Map<string, GoldenTensor>()
  for (const [name, entry] of Object.entries(header)) {
    if (name === '__metadata__') continue
    const [size, read] = readers[entry.dtype]!
    const [begin, end] = entry.data_offsets
    const data = Float64Array.from({ length: (end - begin) / size }, (_, i) => read(8 + headerBytes + begin + size * i))
    tensors.set(name, { shape: entry.shape, data })
  }
  return tensors
}

/** One row of a golden batch, without its padding. */
export interface GoldenRow {
  readonly tokens: readonly number[]
  /** Tokens of the longest row, for which the whole batch was computed: LongRoPE sees it. */
  readonly longest: number
  /** [T, width] of a tensor of the golden. */
  expected(name: string): Float64Array
}

export function goldenRows({ tensors }: Golden): GoldenRow[] {
  const ids = tensors.get('input_ids')!
  const [nRows, length] = ids.shape as [number, number]
  const mask = tensors.get('attention_mask')?.data
  return Array.from({ length: nRows }, (_, r) => {
    const row = ids.data.subarray(r * length, (r + 1) * length)
    const tokens = [...row].filter((_, t) => !mask || mask[r * length + t] === 1)
    return {
      tokens,
      longest: length,
      expected(name) {
        const { shape, data } = tensors.get(name)!
        const width = shape[2]!
        return data.subarray(r * length * width, (r * length + tokens.length) * width)
      },
    }
  })
}

export function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Infinity
  let largest = 0
  for (let i = 0; i < a.length; i++) largest = Math.max(largest, Math.abs(a[i]! - b[i]!))
  return a.length > 0 && Number.isNaN(largest) ? Infinity : largest
}
