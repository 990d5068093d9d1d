/**
 * Runs a few ops as a plan of their own: on the native engine, once per ISA variant of this machine, and in float64. What
 * the graph names with `output` comes back.
 */
import type { TensorTypeName } from '../../src/tensor-types.js'
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect } from 'vitest'
import { GraphBuilder } from '../../src/graph/builder.js'
import { compileGraph, fusionPasses } from '../../src/graph/compile.js'
import type { Graph } from '../../src/graph/graph.js'
import { decompose } from '../../src/graph/passes/decompose.js'
import { callNative, native, type NativeEngineOptions } from '../../src/native.js'
import { matrix, type Matrix } from '../reference/matrix.js'
import { runPlan } from '../reference/run-plan.js'
import { madeOf } from './made-checkpoints.js'
import type { TestTensor } from './tensors.js'

export const isas = native().info().isas

export interface OpCase {
  /** Weights, in one file, where every tensor begins at an odd byte. */
  readonly tensors?: Readonly<Record<string, TestTensor>>
  /** What the graph reads with `g.input`, by name: the rows of all sequences, one sequence after the other. */
  readonly inputs?: Readonly<Record<string, Matrix>>
  /** Tokens of all sequences. Default: zeros, as many as the inputs have rows. */
  readonly tokens?: readonly number[]
  /** Lengths. Default: all rows are one sequence. */
  readonly sequences?: readonly number[]
  /** How many tokens of which sequences go into each step: [sequence, n]. Default: everything in one step. */
  readonly steps?: readonly (readonly (readonly [number, number])[])[]
  readonly kvType?: NativeEngineOptions['kvType']
  /** Default 1. */
  readonly threads?: number
  /** 'fused' (the default): as models are. 'as written': without passes. 'decomposed': in the simplest ops there are. */
  readonly form?: 'fused' | 'as written' | 'decomposed'
  readonly vocabSize?: number
  build(g: GraphBuilder): void
}

export type Outputs = Readonly<Record<string, Matrix>>

let folder: string | undefined
let files = 0
afterAll(() => {
  if (folder) rmSync(folder, { recursive: true, force: true })
  folder = undefined
})

/** The plan of a case, to look at or to run. */
export function compileOp(c: OpCase) {
  folder ??= mkdtempSync(join(tmpdir(), 'infernode-ops-'))
  const path = join(folder, `weights-${files++}`)
  const named = Object.entries(c.tensors ?? {})
  const checkpoint = madeOf(Object.fromEntries(named.map(([name, { type, shape }]) => [name, [type, shape]])), { path })
  // Nothing in a file needs to be aligned: an odd byte before each tensor, and as many as it takes to keep it odd.
  const parts: Uint8Array[] = []
  let offset = 0
  const tensors = named.map(([name, { bytes, transposed }]) => {
    const gap = offset % 2 === 0 ? 1 : 2
    parts.push(new Uint8Array(gap), bytes)
    const tensor = { ...checkpoint.tensors.get(name)!, offset: offset + gap, ...(transposed && { transposed }) }
    offset += gap + bytes.length
    return [name, tensor] as const
  })
  writeFileSync(path, Buffer.concat([...parts, new Uint8Array(1)]))
  const { size, mtimeMs } = statSync(path)
  const placed = { ...checkpoint, files: [{ path, bytes: size, mtimeMs }], tensors: new Map(tensors) }
  const g = new GraphBuilder(placed)
  c.build(g)
  const header = { architecture: 'test', vocabSize: c.vocabSize ?? 1, contextLength: 4096, files: placed.files }
  const written: Graph = g.finish()
  const graph = c.form === 'decomposed' ? decompose(written) : written
  const plan = compileGraph(graph, header, (c.form ?? 'fused') === 'fused' ? fusionPasses : [])
  return { plan, written: { ...written, files: placed.files } }
}

/** Rows of each sequence, and where they start among all rows. */
function layout(c: OpCase) {
  const rows = c.tokens?.length ?? Object.values(c.inputs ?? {})[0]?.rows ?? 0
  const lengths = c.sequences ?? [rows]
  const starts = lengths.map((_, s) => lengths.slice(0, s).reduce((a, b) => a + b, 0))
  const tokens = c.tokens ?? Array.from({ length: rows }, () => 0)
  const steps = c.steps ?? [lengths.map((length, s) => [s, length] as const)]
  return { rows, lengths, starts, tokens, steps }
}

const pick = (m: Matrix, rows: readonly number[]) => rows.flatMap((r) => [...m.data.subarray(r * m.width, (r + 1) * m.width)])

/** On one variant: every output, in the rows' order of the inputs. */
export async function runOp(c: OpCase, isa: string): Promise<Outputs> {
  const { plan } = compileOp(c)
  const { rows, starts, tokens, steps } = layout(c)
  const batchTokens = Math.max(1, ...steps.map((step) => step.reduce((sum, [, n]) => sum + n, 0)))
  const { threads = 1, kvType = 'f32' } = c
  const options = { threads, isa, kvType, cacheTokens: 4096, batchTokens, maxQueue: 1, mmap: true }
  const engine = await callNative(() => native().createEngine(JSON.stringify(plan), null, options))
  try {
    const outputs: Record<string, Matrix> = {}
    for (const { name, value } of plan.outputs) outputs[name] = matrix(rows, plan.values[value]!.width, () => NaN)
    const done = starts.map(() => 0)
    for (const step of steps) {
      const stepRows: number[] = []
      const batch = step.map(([sequence, n]) => {
        const own = Array.from({ length: n }, (_, i) => starts[sequence]! + done[sequence]! + i)
        done[sequence]! += n
        stepRows.push(...own)
        return { sequence, tokens: Int32Array.from(own, (row) => tokens[row]!) }
      })
      const inputs = Object.fromEntries(
        Object.entries(c.inputs ?? {}).map(([name, m]) => [name, Float32Array.from(pick(m, stepRows))]),
      )
      const results = await callNative(() => engine.evaluate(batch, inputs))
      for (const [name, m] of Object.entries(outputs)) {
        stepRows.forEach((row, i) => m.data.set(results[name]!.subarray(i * m.width, (i + 1) * m.width), row * m.width))
      }
    }
    return outputs
  } finally {
    await engine.dispose()
  }
}

/** The graph as it was written, in float64, each sequence for itself. */
export function referenceOf(c: OpCase): Outputs {
  const { written } = compileOp(c)
  const { rows, lengths, starts, tokens } = layout(c)
  const outputs: Record<string, Matrix> = {}
  lengths.forEach((length, s) => {
    const own = Array.from({ length }, (_, i) => starts[s]! + i)
    const inputs = Object.fromEntries(
      Object.entries(c.inputs ?? {}).map(([name, m]) => [
        name,
        { rows: length, width: m.width, data: Float64Array.from(pick(m, own)) },
      ]),
    )
    for (const [name, { width, data }] of runPlan(written, { tokens: own.map((row) => tokens[row]!), inputs })) {
      outputs[name] ??= matrix(rows, width)
      outputs[name].data.set(data, starts[s]! * width)
    }
  })
  return outputs
}

/** How far an element may be from float64: |difference| ≤ relative · |expected| + absolute. */
export interface Tolerance {
  readonly relative?: number
  readonly absolute?: number | Matrix
}

export function expectClose(actual: Outputs, expected: Outputs, { relative = 0, absolute = 0 }: Tolerance, what = ''): void {
  expect(Object.keys(actual).sort()).toEqual(Object.keys(expected).sort())
  for (const [name, { width, data }] of Object.entries(expected)) {
    const found = actual[name]!
    expect([found.width, found.data.length], `${what} ${name}: shape`).toEqual([width, data.length])
    for (let i = 0; i < data.length; i++) {
      const allowed = relative * Math.abs(data[i]!) + (typeof absolute === 'number' ? absolute : absolute.data[i]!)
      if (!(Math.abs(found.data[i]! - data[i]!) <= allowed)) {
        const at = `${what} ${name}[${Math.floor(i / width)}, ${i % width}]`
        expect.fail(`${at} is ${found.data[i]}, expected ${data[i]} within ${allowed}`)
      }
    }
  }
}

/** Bit for bit, but for the bits of a NaN. */
export function expectEqual(actual: Outputs, expected: Outputs, what = ''): void {
  expect(Object.keys(actual).sort()).toEqual(Object.keys(expected).sort())
  for (const [name, { width, data }] of Object.entries(expected)) {
    const found = actual[name]!.data
    expect(found.length, `${what} ${name}: values`).toBe(data.length)
    for (let i = 0; i < data.length; i++) {
      if (!Object.is(found[i], data[i])) {
        expect.fail(`${what} ${name}[${Math.floor(i / width)}, ${i % width}] is ${found[i]}, expected exactly ${data[i]}`)
      }
    }
  }
}

/** The case on every variant of this machine against float64. */
export async function expectReference(c: OpCase, tolerance: Tolerance): Promise<void> {
  const expected = referenceOf(c)
  for (const isa of isas) expectClose(await runOp(c, isa), expected, tolerance, isa)
}

/** Whether the variant multiplies weights of this type under a contract of its own: bf16 in pairs. */
export const multipliesPairs = (isa: string, type: TensorTypeName): boolean => type === 'bf16' && (isa === 'avx512_bf16' || isa === 'amx')
