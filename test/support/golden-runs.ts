/** Runs a checkpoint on the native engine and compares it with a golden's outputs. */
import { expect } from 'vitest'
import { openCheckpoint } from '../../src/formats/index.js'
import { compilePlan } from '../../src/graph/compile.js'
import { callNative, native, type NativeEngine } from '../../src/native.js'
import { type Golden, goldenRows, largestDifference } from './goldens.js'

export async function withEngine<T>(path: string, run: (engine: NativeEngine, vocabSize: number) => Promise<T>): Promise<T> {
  const plan = await compilePlan(await openCheckpoint(path), { capture: true })
  const options = { threads: 2, isa: '', kvType: 'f32', cacheTokens: 512, batchTokens: 64, maxQueue: 1, mmap: true } as const
  const engine = await callNative(() => native().createEngine(JSON.stringify(plan), null, options))
  try {
    return await run(engine, plan.vocabSize)
  } finally {
    await engine.dispose()
  }
}

/** The logits and every hidden state that the golden has, for both rows of its batch in one ragged step. */
export async function compareOutputs(golden: Golden, path: string): Promise<void> {
  await withEngine(path, async (engine) => {
    const rows = goldenRows(golden)
    const batch = rows.map(({ tokens, longest }, sequence) => ({ sequence, longest, tokens: Int32Array.from(tokens) }))
    const outputs = await callNative(() => engine.evaluate(batch))
    const names = [...golden.tensors.keys()].filter((name) => name === 'logits' || name.startsWith('hidden_states.'))
    expect(Object.keys(outputs)).toEqual(expect.arrayContaining(names))
    for (const name of names) {
      const expected = rows.flatMap((row) => [...row.expected(name)])
      expect(largestDifference(outputs[name]!, expected), name).toBeLessThanOrEqual(golden.tolerance[name]!.atol)
    }
  })
}

/** Feeds the first row, then its own best token, one at a time. */
export async function compareGreedy(golden: Golden, path: string): Promise<void> {
  await withEngine(path, async (engine, vocabSize) => {
    const expected = [...golden.tensors.get('greedy_ids')!.data]
    const generated: number[] = []
    let tokens = Int32Array.from(goldenRows(golden)[0]!.tokens)
    for (const _ of expected) {
      const { logits } = await callNative(() => engine.evaluate([{ sequence: 7, tokens }]))
      const last = logits!.subarray(logits!.length - vocabSize)
      const best = last.indexOf(last.reduce((a, b) => Math.max(a, b), -Infinity))
      generated.push(best)
      tokens = Int32Array.of(best)
    }
    expect(generated).toEqual(expected)
  })
}
