/** Architectures and passes against Hugging Face's outputs, in float64 and without the native engine. */
import { cpSync, existsSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
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
