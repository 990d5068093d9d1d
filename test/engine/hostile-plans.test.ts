/** Plans are distrusted: a damaged one is refused with a code, or it runs without touching what is not its own. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Plan } from '../../src/graph/plan.js'
import { fixture, temporaryFolder } from '../support/checkpoints.js'
import { runChild } from '../support/children.js'
import { planOf, randomNumbers } from '../support/engines.js'

type Json = null | boolean | number | string | Json[] | { [key: string]: Json }
type Random = (n: number) => number

/** Every place in the plan: the object or list, and the key in it. */
function places(root: Json): { holder: Record<string, Json>; key: string; path: string }[] {
  const found: ReturnType<typeof places> = []
  const walk = (value: Json, path: string): void => {
    if (typeof value !== 'object' || value === null) return
    for (const key of Object.keys(value)) {
      found.push({ holder: value as Record<string, Json>, key, path: `${path}.${key}` })
      walk((value as Record<string, Json>)[key]!, `${path}.${key}`)
    }
  }
  walk(root, '')
  return found
}

const strange: readonly Json[] = [
  ...[-1, 0, 1, 2, 3, 7, 63, 64, 65, 0.5, -0.5, 2 ** 28, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 53, 2 ** 63, 1e300],
  ...['', 'f32', 'a8_32', 'q4_k', 'tokens', 'outputs', 'attention', 'kv_write', 'linear'],
  ...[null, true, [], {}, [-1], [0, 0, 0, 0, 0, 0], [[[]]]],
]

function mutate(plan: Plan, next: Random): string {
  const root = structuredClone(plan) as unknown as Json
  // Most places are weights and values; take the few others as often.
  const pick = () => {
    const sections = Object.keys(root as object)
    const section = `.${sections[next(sections.length)]}`
    const all = places(root).filter(({ path }) => path === section || path.startsWith(`${section}.`))
    return all[next(all.length)]!
  }
  for (let i = next(4) === 0 ? 2 : 1; i > 0; i--) {
    const { holder, key } = pick()
    const value = holder[key]!
    const kind = next(8)
    if (kind === 0) delete holder[key]
    else if (kind === 1) holder[key] = strange[next(strange.length)]!
    else if (kind === 2 && typeof value === 'number') holder[key] = value + next(3) - 1
    else if (kind === 3 && typeof value === 'number') holder[key] = value * (1 + next(3)) * (next(2) ? 64 : 1)
    else if (kind === 4 && Array.isArray(holder)) holder.push(structuredClone(value))
    else if (kind === 5 && Array.isArray(holder)) holder.splice(Number(key), 1)
    else if (kind === 6) {
      // Something from elsewhere: another op's name, another value's number.
      const all = places(root).filter((other) => other.key === key && other.holder !== holder)
      if (all.length > 0) {
        const other = all[next(all.length)]!
        ;[holder[key], other.holder[other.key]] = [other.holder[other.key]!, value]
      } else holder[key] = next(12)
    } else if (typeof value === 'number') holder[key] = next(40)
    else holder[key] = strange[next(strange.length)]!
  }
  const text = JSON.stringify(root)
  const kind = next(20)
  if (kind === 0) return text.slice(0, next(text.length))
  if (kind === 1) return `${text.slice(0, -1)},"vocabSize":1e9}`
  if (kind === 2) {
    const at = next(text.length)
    return text.slice(0, at) + '[{}],:"-1e\\\0'[next(12)] + text.slice(at + 1)
  }
  return text
}

/** What no random mutation finds: each aims at one check. */
function aimed(plan: Plan): string[] {
  const changed = (change: (plan: any) => void): string => {
    const copy = structuredClone(plan)
    change(copy)
    return JSON.stringify(copy)
  }
  const value = (more: object) => ({ name: 'made', rows: 'tokens', width: 16, type: 'f32', offset: 0, stride: 64, ...more })
  const steps = (op: string) => (copy: any) => copy.steps.filter((step: any) => step.op === op)
  return [
    '['.repeat(1_000_000),
    `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`,
    ...['', ' ', 'null', '[]', '{}', '1', '"plan"'],
    changed((p) => (p.files[0].bytes = 2 ** 52)),
    changed((p) => (p.files[0].bytes = 0)),
    changed((p) => (p.files[0].path = '/')),
    changed((p) => (p.files[0].path = '/dev/zero')),
    changed((p) => (p.files[0].path = '')),
    changed((p) => p.weights.forEach((w: any) => (w.offset = p.files[0].bytes - 1))),
    changed((p) => p.weights.forEach((w: any) => (w.offset += 1))),
    changed((p) => p.weights.forEach((w: any) => (w.shape = w.shape.map(() => 2 ** 28)))),
    changed((p) => p.weights.forEach((w: any) => (w.shape = [1, ...w.shape]))),
    changed((p) => p.weights.forEach((w: any) => (w.add = 1e300))),
    changed((p) => p.values.forEach((v: any) => (v.offset = 0))),
    changed((p) => p.values.forEach((v: any) => (v.stride = 64))),
    changed((p) => p.values.forEach((v: any) => (v.rows = 'outputs'))),
    changed((p) => p.values.forEach((v: any) => (v.rows = 'tokens'))),
    changed((p) => p.values.forEach((v: any) => (v.type = 'a8_32'))),
    changed((p) => p.values.forEach((v: any) => (v.width = 2 ** 28))),
    changed((p) => (p.bytesPerRow = { tokens: 2 ** 32, outputs: 2 ** 32 })),
    changed((p) => (p.bytesPerRow = { tokens: 64, outputs: 64 })),
    changed((p) => (p.headStep = 0)),
    changed((p) => (p.headStep = p.steps.length)),
    changed((p) => (p.kv.groups = [])),
    changed((p) => p.kv.groups.forEach((g: any) => (g.window = 1))),
    changed((p) => (p.kv.groups = [{ layers: Array.from({ length: 70_000 }, (_, i) => i), window: 0 }])),
    changed((p) => (p.kv.groups = p.kv.groups.flatMap((g: any) => [g, g]))),
    changed((p) => Object.assign(p.kv, { nKvHeads: 65536, headDim: 65536 })),
    changed((p) => Object.assign(p.kv, { nKvHeads: p.kv.nKvHeads * p.kv.headDim, headDim: 1 })),
    changed((p) => steps('attention')(p).forEach((s: any) => (s.attributes.layer = 2 ** 32 - 1))),
    changed((p) => steps('attention')(p).forEach((s: any) => (s.attributes.headDim = 1))),
    changed((p) => steps('attention')(p).forEach((s: any) => (s.attributes.window = 0))),
    changed((p) => steps('attention')(p).forEach((s: any) => (s.attributes.window = 2 ** 32 - 1))),
    changed((p) => steps('rope')(p).forEach((s: any) => (s.attributes.headDim = 2 ** 31))),
    changed((p) => steps('rope')(p).forEach((s: any) => (s.attributes.headDim = 1))),
    changed((p) => steps('route')(p).forEach((s: any) => (s.attributes.active = 0))),
    changed((p) => steps('route')(p).forEach((s: any) => (s.attributes.active = 2 ** 32 - 1))),
    // The choice of experts is whatever another op left there: numbers that are none, or no numbers at all.
    ...['expertsSwiglu', 'expertsSum'].flatMap((op) => [
      changed((p) =>
        steps(op)(p).forEach((s: any) => {
          const { width } = p.values[s.inputs.routing]
          s.inputs.routing = p.values.findIndex((v: any) => v.width === width && v.rows === 'tokens' && v.type === 'f32')
        }),
      ),
      changed((p) => steps(op)(p).forEach((s: any) => (p.values[s.outputs.out].offset = p.values[s.inputs.routing].offset))),
      changed((p) => (p.steps = p.steps.filter((s: any) => s.op !== 'route'))),
      changed((p) => steps(op)(p).forEach((s: any) => (p.values[s.inputs.routing].width = 2 ** 20))),
    ]),
    changed((p) => p.weights.forEach((w: any) => w.parts?.forEach((part: any) => (part[1] = p.files[0].bytes - 1)))),
    changed((p) => p.weights.forEach((w: any) => w.parts?.forEach((part: any) => (part[1] = -1)))),
    changed((p) => p.weights.forEach((w: any) => w.parts?.forEach((part: any) => (part[0] = 1)))),
    changed((p) => p.weights.forEach((w: any) => w.parts?.pop())),
    changed((p) => p.weights.forEach((w: any) => delete w.parts)),
    changed((p) => p.weights.forEach((w: any) => w.parts && (w.shape = [2 ** 28, 2 ** 28, 2 ** 28]))),
    changed((p) => p.weights.forEach((w: any) => (w.storedColumns = 2 ** 28))),
    changed((p) => p.weights.forEach((w: any) => (w.storedColumns = 1))),
    changed((p) => (p.steps = p.steps.filter((s: any) => s.op !== 'kv_write'))),
    changed((p) => (p.steps = p.steps.toReversed?.() ?? [...p.steps].reverse())),
    changed((p) => (p.steps = Array.from({ length: 300 }, () => p.steps[0]).concat(p.steps))),
    changed((p) => (p.steps = [])),
    changed((p) => (p.vocabSize = 2 ** 31 - 1)),
    changed((p) => (p.vocabSize = 0)),
    changed((p) => (p.contextLength = 2 ** 31 - 1)),
    // Fed values, for which the caller brings as many rows as the step has tokens.
    changed((p) => p.inputs.push({ name: 'made', value: p.values.findIndex((v: any) => v.rows === 'outputs') })),
    changed((p) => p.inputs.push({ name: 'made', value: p.values.push(value({ type: 'a8_32', width: 32 })) - 1 })),
    changed((p) => p.inputs.push({ name: 'made', value: p.values.length })),
    changed((p) => p.outputs.push({ name: 'logits', value: 0 })),
    changed((p) => (p.outputs = p.values.map((_: any, i: number) => ({ name: `v${i}`, value: i })))),
    changed(
      (p) => (p.outputs = p.values.flatMap((v: any, i: number) => (v.type === 'f32' ? [{ name: `v${i}`, value: i }] : []))),
    ),
    changed((p) => (p.outputs = [])),
  ]
}

const cases = {
  'f32 weights': fixture('llama'),
  'quantized weights': fixture('gguf/llama_mixed_quants/model.gguf'),
  'sliding windows': fixture('gguf/gemma3_text/model.gguf'),
  'experts': fixture('mixtral'),
  'matrices stored the other way': fixture('gpt2'),
}

describe.each(Object.entries(cases))('a damaged plan with %s', (name, path) => {
  it('is refused with a code, or runs; the process lives on', { timeout: 120_000 }, async () => {
    const plan = await planOf(path)
    const next = randomNumbers(name.length)
    const mutations = [...aimed(plan), ...Array.from({ length: 400 }, () => mutate(plan, next))]
    const file = join(await temporaryFolder(), 'plans.json')
    await writeFile(file, JSON.stringify({ plan: JSON.stringify(plan), mutations }))
    const { code, signal, stdout, stderr } = await runChild('plans', [file, 0, mutations.length], { timeoutMs: 100_000 })
    const last = Number(/#(\d+)\n(?!.*#\d)/s.exec(stderr)?.[1])
    expect(
      { code, signal },
      `at #${last}: ${code === 0 ? '' : mutations[last]?.slice(0, 20_000)}\n${stderr.slice(-1500)}`,
    ).toEqual({ code: 0, signal: null })
    const tally: Record<string, number> = JSON.parse(stdout)
    expect(tally.PLAN_INVALID).toBeGreaterThan(100)
    expect(tally.runs).toBeGreaterThan(10)
    expect(tally.INTERNAL).toBeUndefined()
  })
})
