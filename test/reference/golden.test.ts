/** Architectures and passes against Hugging Face's outputs, in float64 and without the native engine. */
import { cpSync, existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { openCheckpoint } from '../../src/formats/index.js'
import { buildGraph, compilePlan } from '../../src/graph/compile.js'
import { decompose } from '../../src/graph/passes/decompose.js'
import { type Golden, goldenRows, huggingFace, largestDifference, readGolden } from '../support/goldens.js'
import { runPlan } from './run-plan.js'

const gguf = [
  'gguf/llama',
  'gguf/llama_rope_llama3',
  'gguf/llama_mixed_quants',
  'gguf/qwen2',
  'gguf/qwen3',
  'gguf/phi3',
  'gguf/gemma2',
  'gguf/gemma3_text',
  'gguf/gpt2',
  'gguf/llama_moe',
  'gguf/qwen3_moe',
]

const temporary: string[] = []
afterAll(() => temporary.forEach((folder) => rmSync(folder, { recursive: true })))

/** The same checkpoint with the config in the key style of transformers 4. */
function olderConfig(folder: string): string {
  const copy = mkdtempSync(join(tmpdir(), 'infernode-golden-'))
  temporary.push(copy)
  cpSync(folder, copy, { recursive: true })
  renameSync(join(copy, 'config.older.json'), join(copy, 'config.json'))
  return copy
}

async function compare(golden: Golden, path: string): Promise<void> {
  const plan = await compilePlan(await openCheckpoint(path), { capture: true })
  const named = plan.outputs.map(({ name }) => name).filter((name) => golden.tensors.has(name))
  const states = [...golden.tensors.keys()].filter((name) => name.startsWith('hidden_states.'))
  expect(named).toEqual(expect.arrayContaining(['logits', ...states]))
  for (const row of goldenRows(golden)) {
    const outputs = runPlan(plan, row)
    for (const name of named) {
      expect(largestDifference(outputs.get(name)!.data, row.expected(name)), name).toBeLessThanOrEqual(
        golden.tolerance[name]!.atol,
      )
    }
  }
}

describe('golden reference', () => {
  for (const name of huggingFace) {
    const golden = readGolden(name)
    it.skipIf(!golden)(`${name} gives the logits and hidden states of Hugging Face`, () => compare(golden!, golden!.folder))
    const older = golden !== null && existsSync(join(golden.folder, 'config.older.json'))
    it.skipIf(!older)(`${name} gives the same with the older style of config`, () =>
      compare(golden!, olderConfig(golden!.folder)),
    )
  }
  for (const name of gguf) {
    const golden = readGolden(name)
    it.skipIf(!golden)(`${name} gives the logits of Hugging Face`, () => compare(golden!, join(golden!.folder, 'model.gguf')))
  }
})

/** The same checkpoint under the names of a model without a head, and with the buffers that old files have. */
function headless(folder: string): string {
  const copy = mkdtempSync(join(tmpdir(), 'infernode-golden-'))
  temporary.push(copy)
  cpSync(folder, copy, { recursive: true })
  const path = join(copy, 'model.safetensors')
  const bytes = readFileSync(path)
  const length = Number(bytes.readBigUInt64LE(0))
  const entries = Object.entries(JSON.parse(bytes.toString('utf8', 8, 8 + length)) as Record<string, unknown>)
  const data = bytes.subarray(8 + length)
  const buffers = [0, 1].flatMap((layer) =>
    ['bias', 'masked_bias'].map((name, i): [string, unknown] => {
      const begin = data.length + 4 * (2 * layer + i)
      return [`h.${layer}.attn.${name}`, { dtype: 'F32', shape: [1, 1], data_offsets: [begin, begin + 4] }]
    }),
  )
  const renamed = [...entries.map(([name, entry]): [string, unknown] => [name.replace(/^transformer\./, ''), entry]), ...buffers]
  const header = Buffer.from(JSON.stringify(Object.fromEntries(renamed)))
  const size = Buffer.alloc(8)
  size.writeBigUInt64LE(BigInt(header.length))
  writeFileSync(path, Buffer.concat([size, header, data, Buffer.alloc(16)]))
  return copy
}

describe('golden reference: GPT-2', () => {
  const golden = readGolden('gpt2')
  it.skipIf(!golden)('gpt2 without the first word of its names, and with causal masks, gives the same', () =>
    compare(golden!, headless(golden!.folder)),
  )
})

describe('golden reference: LongRoPE', () => {
  const golden = readGolden('phi3_longrope')
  it.skipIf(!golden)('phi3_longrope turns a text within the original context as a short one, in both styles of config', async () => {
    const tokens = [...golden!.tensors.get('short.input_ids')!.data]
    for (const folder of [golden!.folder, olderConfig(golden!.folder)]) {
      const logits = runPlan(await compilePlan(await openCheckpoint(folder)), { tokens }).get('logits')!.data
      const expected = golden!.tensors.get('short.logits')!.data
      expect(largestDifference(logits, expected)).toBeLessThanOrEqual(golden!.tolerance.logits!.atol)
    }
  })
})

describe('golden reference: refused', () => {
  for (const [name, type] of [
    ['llama_rope_dynamic', 'dynamic'],
  ] as const) {
    const golden = readGolden(name)
    it.skipIf(!golden)(`${name} is refused by the name of its field, in both styles of config`, async () => {
      for (const folder of [golden!.folder, olderConfig(golden!.folder)]) {
        const compiled = compilePlan(await openCheckpoint(folder))
        await expect(compiled).rejects.toThrow(new RegExp(`rope_scaling\\.(rope_)?type.*"${type}"`))
      }
    })
  }
})

describe('golden reference: passes', () => {
  for (const name of [...huggingFace, 'gguf/llama_mixed_quants', 'gguf/phi3', 'gguf/gemma3_text']) {
    const golden = readGolden(name)
    it.skipIf(!golden)(`${name} computes the same fused, as written and decomposed`, async () => {
      const path = name.startsWith('gguf/') ? join(golden!.folder, 'model.gguf') : golden!.folder
      const checkpoint = await openCheckpoint(path)
      const { graph, header } = await buildGraph(checkpoint, { capture: true })
      const plan = await compilePlan(checkpoint, { capture: true })
      const row = goldenRows(golden!)[0]!
      const fused = runPlan(plan, row)
      const written = runPlan({ ...graph, files: header.files }, row)
      const unplaced = {
        ...plan,
        values: plan.values.map(({ name, rows, width, type }, id) => ({ id, name, rows, width, type })),
      }
      const decomposed = runPlan({ ...decompose(unplaced), files: plan.files }, row)
      for (const [output, { data }] of fused) {
        expect(largestDifference(data, written.get(output)!.data), output).toBe(0)
        expect(largestDifference(data, decomposed.get(output)!.data), output).toBe(0)
      }
    })
  }
})
