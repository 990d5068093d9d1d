import { describe, expect, it } from 'vitest'
import { compilePlan } from '../../src/graph/compile.js'
import { drawPlan } from '../../src/graph/draw.js'
import { foldLayers } from '../../src/graph/fold-layers.js'
import { formatBytes, formatPlan, formatRanges } from '../../src/graph/format-plan.js'
import { llamaTensors, madeLlama } from '../support/made-checkpoints.js'

const plan = await compilePlan(madeLlama({}, llamaTensors('q8_0')))

describe('formatPlan', () => {
  it('has a line for every step and marks the head', () => {
    const text = formatPlan(plan)
    for (const [index, step] of plan.steps.entries()) expect(text).toMatch(new RegExp(`^ *${index}  ${step.op} `, 'm'))
    expect(text).toContain('one row per output')
    expect(text).toContain('q8_0[96, 64]')
  })
  it('writes bytes and ranges for people', () => {
    expect([999, 1500, 3.9e6].map(formatBytes)).toEqual(['999 bytes', '1.50 KB', '3.90 MB'])
    expect(formatRanges([0, 1, 2, 6, 8, 9])).toBe('0–2, 6, 8–9')
  })
})

describe('foldLayers', () => {
  it('makes one section of equal layers', () => {
    expect(foldLayers(plan).map(({ title, layers }) => [title, layers])).toEqual([
      ['input', []],
      ['layers 0–1  ×2', [0, 1]],
      ['head', []],
    ])
  })
  it('counts what differs between layers of the same steps', async () => {
    const tensors = { ...llamaTensors('q8_0'), 'model.layers.1.mlp.down_proj.weight': ['q5_0', [64, 96]] as const }
    const down = foldLayers(await compilePlan(madeLlama({}, tensors)))[1]!.nodes.at(-1)!
    expect(down.weights).toMatchObject([{ kinds: 'q8_0[64, 96] (1×), q5_0[64, 96] (1×)', types: ['q8_0', 'q5_0'] }])
  })
  it('cuts layers of different steps apart', async () => {
    // A float matrix needs no quantize step before it.
    const tensors = { ...llamaTensors('q8_0'), 'model.layers.1.mlp.down_proj.weight': ['f16', [64, 96]] as const }
    const titles = foldLayers(await compilePlan(madeLlama({}, tensors))).map(({ title }) => title)
    expect(titles).toEqual(['input', 'layer 0', 'layer 1', 'head'])
  })
})

describe('drawPlan', () => {
  const svg = drawPlan(plan, 'svg')
  it('draws every step of one layer, once', () => {
    const drawn = svg.match(/<g class="node /g)!.length
    expect(drawn).toBe(foldLayers(plan).reduce((sum, { nodes }) => sum + nodes.length, 0))
  })
  it('needs nothing from outside', () => {
    for (const kind of ['svg', 'html'] as const) {
      expect(drawPlan(plan, kind).replace('http://www.w3.org/2000/svg', '')).not.toMatch(
        /https?:|url\((?!#)|<script|@import|src=/,
      )
    }
  })
  it('cannot be made to carry markup by a name in a checkpoint', () => {
    const hostile = {
      ...plan,
      architecture: '<script>alert(1)</script>',
      values: plan.values.map((value) => ({ ...value, name: '"><img src=x>' })),
    }
    const steps = plan.steps.map((step) => ({ ...step, label: `${step.label}</title><script>` }))
    expect(drawPlan({ ...hostile, steps }, 'html')).not.toMatch(/<script|<img/)
  })
  it('draws plans without layers', async () => {
    const small = {
      ...plan,
      steps: plan.steps.slice(0, 1),
      headStep: 1,
      outputs: [],
      kv: { nKvHeads: 0, headDim: 0, groups: [] },
    }
    expect(drawPlan(small, 'svg')).toContain('embedding')
  })
})
