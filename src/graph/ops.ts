/**
 * The op table: one row per op. The graph is checked against it; native/generated/ops.h and docs/ops.md are printed from
 * it.
 */
import { InfernodeError } from '../errors.js'
import { type Graph, type GraphStep, listOf, type Value } from './graph.js'
import type { Operands, RowsOf } from './plan.js'

/**
 * How many operands stand behind a name. Lists hold up to `listCapacity`; elements of an optional list may be absent one by
 * one.
 */
export type Arity = 'one' | 'optional' | 'list' | 'optional list'
export const listCapacity = 4

/** u32 and f32 as in C++; a list of words is an enumeration. */
export type AttributeType = 'f32' | 'u32' | { readonly name: string; readonly words: readonly string[] }

/** What shape rules see of a value and of a weight. */
export interface Rows {
  readonly rows: RowsOf
  readonly width: number
}
export type Shape = readonly number[]

type Seen<Names extends Record<string, Arity>, T> = {
  readonly [Name in keyof Names]: Names[Name] extends 'one'
    ? T
    : Names[Name] extends 'optional'
      ? T | undefined
      : Names[Name] extends 'list'
        ? readonly T[]
        : readonly (T | undefined)[]
}
type Attributes<Types extends Record<string, AttributeType>> = {
  readonly [Name in keyof Types]: Types[Name] extends 'f32' | 'u32' ? number : string
}

/** Makes values for the inside of a decomposition. */
export interface Decomposer {
  readonly graph: Graph
  /** A new f32 value with the rows and the width of another. */
  like(value: number, name: string): number
}

interface OpRow<
  I extends Record<string, Arity>,
  W extends Record<string, Arity>,
  O extends Record<string, Arity>,
  A extends Record<string, AttributeType>,
> {
  /** The formula, one line each, and where it comes from. Becomes the comment of the C++ struct. */
  readonly doc: readonly string[]
  readonly inputs?: I
  readonly weights?: W
  readonly outputs?: O
  readonly attributes?: A
  /** Inputs whose memory `out` may take over: the kernel reads each element (norms: each row) before it writes it. */
  readonly inPlace?: readonly (keyof I & string)[]
  /** True where outputs may be of any activation type; elsewhere they are f32. */
  readonly quantizes?: boolean
  /** Checks the operands and gives the shape of each output (lists: of each element). */
  infer(operands: Seen<I, Rows> & Seen<W, Shape> & Attributes<A>): { readonly [Name in keyof O]: Rows | readonly Rows[] }
  /** The same in simpler ops, for backends without a kernel and for tests; null where this step is simple already. */
  decompose?(step: GraphStep, d: Decomposer): readonly GraphStep[] | null
}

/** A row with its types forgotten, for code that handles any op. */
export interface AnyOp {
  readonly doc: readonly string[]
  readonly inputs: Readonly<Record<string, Arity>>
  readonly weights: Readonly<Record<string, Arity>>
  readonly outputs: Readonly<Record<string, Arity>>
  readonly attributes: Readonly<Record<string, AttributeType>>
  readonly inPlace: readonly string[]
  readonly quantizes: boolean
  infer(operands: Readonly<Record<string, unknown>>): Readonly<Record<string, Rows | readonly Rows[]>>
  decompose?(step: GraphStep, d: Decomposer): readonly GraphStep[] | null
}

function op<
  const I extends Record<string, Arity> = Record<never, never>,
  const W extends Record<string, Arity> = Record<never, never>,
  const O extends Record<string, Arity> = Record<never, never>,
  const A extends Record<string, AttributeType> = Record<never, never>,
>(row: OpRow<I, W, O, A>): AnyOp {
  const none = {}
  return {
    inputs: none,
    weights: none,
    outputs: none,
    attributes: none,
    inPlace: [],
    quantizes: false,
    ...row,
  } as unknown as AnyOp
}

const epilogue = { name: 'Epilogue', words: ['none', 'add', 'swiglu', 'geglu'] } as const
const gating = { name: 'Gating', words: ['softmax', 'softmaxOfChosen'] } as const
const pairing = { name: 'Pairing', words: ['half', 'interleaved'] } as const

export const ops = {
  embedding: op({
    doc: ['out[t, :] = scale · table[tokens[t], :]'],
    weights: { table: 'one' },
    outputs: { out: 'one' },
    attributes: { scale: 'f32' },
    infer({ table }) {
      expectRank('embedding', 'table', table, 2)
      return { out: { rows: 'tokens', width: table[1]! } }
    },
    decompose(step, d) {
      if (step.attributes.scale === 1) return null
      const unscaled = d.like(listOf(step.outputs.out)[0]!, `${step.label} unscaled`)
      return [
        { ...step, outputs: { out: unscaled }, attributes: { scale: 1 } },
        simple('scale', step.label, { x: unscaled }, step.outputs.out!, { factor: step.attributes.scale! }),
      ]
    },
  }),

  positionEmbedding: op({
    doc: ['out[t, :] = table[p, :], p the position of token t. arXiv:1810.04805 §3.2 (learned positions).'],
    weights: { table: 'one' },
    outputs: { out: 'one' },
    infer({ table }) {
      expectRank('positionEmbedding', 'table', table, 2)
      return { out: { rows: 'tokens', width: table[1]! } }
    },
  }),

  linear: op({
    doc: [
      'out[i] = x · weight[i]ᵀ (+ bias[i]). x lists one value per activation type that the weights read.',
      'Epilogue add: out[0] += residual, and out[0] may be residual.',
      'Epilogues swiglu, geglu: out[0] = act(x · weight[0]ᵀ) · (x · weight[1]ᵀ).',
    ],
    inputs: { x: 'list', residual: 'optional' },
    weights: { weight: 'list', bias: 'optional list' },
    outputs: { out: 'list' },
    attributes: { epilogue },
    inPlace: ['residual'],
    infer({ x, residual, weight, bias, epilogue }) {
      for (const other of x) expectRows('linear', 'x', other, x[0]!)
      for (const matrix of weight) {
        expectRank('linear', 'weight', matrix, 2)
        expectShape('linear', 'weight', matrix, [matrix[0]!, x[0]!.width])
      }
      bias.forEach((vector, i) => vector && expectShape('linear', 'bias', vector, [weight[i]![0]!]))
      const out = weight.map((matrix) => ({ rows: x[0]!.rows, width: matrix[0]! }))
      if (epilogue === 'none') return { out }
      expectCount('linear', 'weight', weight.length, epilogue === 'add' ? 1 : 2)
      if (epilogue === 'add') expectRows('linear', 'residual', residual, out[0]!)
      else expectRows('linear', 'out', out[1], out[0]!)
      return { out: out.slice(0, 1) }
    },
    decompose(step, d) {
      const weights = listOf(step.weights.weight)
      const { epilogue } = step.attributes
      if (weights.length === 1 && epilogue === 'none') return null
      const outs = listOf(step.outputs.out)
      const parts = weights.map((_, i) => (epilogue === 'none' ? outs[i]! : d.like(outs[0]!, `${step.label}[${i}]`)))
      const biases = listOf(step.weights.bias)
      const steps: GraphStep[] = weights.map((weight, i) => ({
        op: 'linear',
        label: `${step.label}[${i}]`,
        inputs: { x: step.inputs.x! },
        weights: (biases[i] ?? -1) >= 0 ? { weight: [weight], bias: [biases[i]!] } : { weight: [weight] },
        outputs: { out: [parts[i]!] },
        attributes: { epilogue: 'none' },
      }))
      if (epilogue === 'add') steps.push(simple('add', step.label, { a: step.inputs.residual!, b: parts[0]! }, outs[0]!))
      else if (epilogue !== 'none') {
        steps.push(simple(epilogue as string, step.label, { gate: parts[0]!, up: parts[1]! }, outs[0]!))
      }
      return steps
    },
  }),

  rmsNorm: op({
    doc: [
      "out[t, d] = x[t, d] / √(mean_d(x[t, d]²) + eps) · weight[d], over each group of the weight's length in a row.",
      'arXiv:1910.07467 eq. 4.',
      'out lists one value per type wanted: f32, a8_32, a8_256. A single f32 out may be x.',
    ],
    inputs: { x: 'one' },
    weights: { weight: 'one' },
    outputs: { out: 'list' },
    attributes: { eps: 'f32' },
    inPlace: ['x'],
    quantizes: true,
    infer({ x, weight }) {
      expectRank('rmsNorm', 'weight', weight, 1)
      if (x.width % weight[0]! !== 0) throw shapeMismatch('rmsNorm', 'x', `T, n·${weight[0]}`, `T, ${x.width}`)
      return { out: x }
    },
    decompose: quantizeApart,
  }),

  layerNorm: op({
    doc: [
      'out[t, d] = (x[t, d] − mean_d) / √(variance_d + eps) · weight[d] (+ bias[d]), over whole rows. arXiv:1607.06450 eq. 3.',
      'out lists one value per type wanted: f32, a8_32, a8_256. A single f32 out may be x.',
    ],
    inputs: { x: 'one' },
    weights: { weight: 'one', bias: 'optional' },
    outputs: { out: 'list' },
    attributes: { eps: 'f32' },
    inPlace: ['x'],
    quantizes: true,
    infer({ x, weight, bias }) {
      expectShape('layerNorm', 'weight', weight, [x.width])
      if (bias) expectShape('layerNorm', 'bias', bias, [x.width])
      return { out: x }
    },
    decompose: quantizeApart,
  }),

  ropeTable: op({
    doc: [
      'out[t, :] = scale · (cos(p·f_0), …, cos(p·f_{n-1}), sin(p·f_0), …, sin(p·f_{n-1})),',
      'p the position of token t, f the n frequencies. Where longFrequencies are given, they hold for all tokens of a sequence',
      'that may become longer than shortLength. arXiv:2402.13753 §3.',
      'arXiv:2104.09864 §3.2; scale is the attention factor of arXiv:2309.00071 §3.4, else 1.',
    ],
    weights: { frequencies: 'one', longFrequencies: 'optional' },
    outputs: { out: 'one' },
    attributes: { scale: 'f32', shortLength: 'u32' },
    infer({ frequencies, longFrequencies }) {
      expectRank('ropeTable', 'frequencies', frequencies, 1)
      if (longFrequencies) expectShape('ropeTable', 'longFrequencies', longFrequencies, frequencies)
      return { out: { rows: 'tokens', width: 2 * frequencies[0]! } }
    },
  }),

  rope: op({
    doc: [
      'Rotates the first 2n of every headDim values by the angles of the table: (a, b) → (a·cos − b·sin, b·cos + a·sin).',
      'Pairs are (i, i + n) with pairing half, (2i, 2i + 1) with interleaved. out may be x. arXiv:2104.09864 eq. 34.',
    ],
    inputs: { x: 'one', table: 'one' },
    outputs: { out: 'one' },
    attributes: { headDim: 'u32', pairing },
    inPlace: ['x'],
    infer({ x, table, headDim }) {
      expectRows('rope', 'table', table, { rows: x.rows, width: table.width })
      if (x.width % headDim !== 0) throw shapeMismatch('rope', 'x', `T, n·${headDim}`, `T, ${x.width}`)
      if (table.width > headDim) throw shapeMismatch('rope', 'table', `T, at most ${headDim}`, `T, ${table.width}`)
      return { out: x }
    },
  }),

  route: op({
    doc: [
      'Of x [T, E], scores of experts: out[t, :] = the numbers of the `active` best ones, best first, then their weights.',
      'Equal scores: the lower number first. Weights: the softmax over all scores, or over the chosen ones. arXiv:2401.04088 §2.1.',
    ],
    inputs: { x: 'one' },
    outputs: { out: 'one' },
    attributes: { active: 'u32', gating },
    infer({ x, active }) {
      if (active < 1 || active > x.width) throw shapeMismatch('route', 'x', `T, at least ${active}`, `T, ${x.width}`)
      return { out: { rows: x.rows, width: 2 * active } }
    },
  }),

  expertsSwiglu: op({
    doc: [
      'out[t, r·F …] = silu(x · gate[e]ᵀ) · (x · up[e]ᵀ), e the r-th expert that routing has for token t; F rows of gate[e].',
      'gate and up are [E, F, D]; only chosen experts are read. x lists one value per activation type that the weights read.',
    ],
    inputs: { x: 'list', routing: 'one' },
    weights: { gate: 'one', up: 'one' },
    outputs: { out: 'one' },
    infer({ x, routing, gate, up }) {
      expectRank('expertsSwiglu', 'gate', gate, 3)
      expectShape('expertsSwiglu', 'up', up, gate)
      for (const one of x) expectRows('expertsSwiglu', 'x', one, { rows: routing.rows, width: gate[2]! })
      return { out: { rows: routing.rows, width: activeOf('expertsSwiglu', routing) * gate[1]! } }
    },
  }),

  expertsSum: op({
    doc: [
      "out[t] = Σ_r weight_r · (x[t, r·F …] · down[e_r]ᵀ), weights and experts those that routing has for token t.",
      'down is [E, D, F]. Added in ascending number of the expert: acc = fma(weight, product, acc), from 0.',
    ],
    inputs: { x: 'list', routing: 'one' },
    weights: { down: 'one' },
    outputs: { out: 'one' },
    infer({ x, routing, down }) {
      expectRank('expertsSum', 'down', down, 3)
      const width = activeOf('expertsSum', routing) * down[2]!
      for (const one of x) expectRows('expertsSum', 'x', one, { rows: routing.rows, width })
      return { out: { rows: routing.rows, width: down[1]! } }
    },
  }),

  kvWrite: op({
    doc: ["Stores keys and values [T, K·E] of this step's tokens in the layer's cache pages."],
    inputs: { k: 'one', v: 'one' },
    attributes: { layer: 'u32' },
    infer({ k, v }) {
      expectRows('kvWrite', 'v', v, k)
      return {}
    },
  }),

  attention: op({
    doc: [
      "out = softmax(scale · q · Kᵀ) · V over the cached positions p' ≤ p, and p' > p − window if window > 0.",
      'q [T, H·E]; query head h reads KV head ⌊h·K / H⌋. arXiv:1706.03762 eq. 1, arXiv:2305.13245 (grouped heads).',
      'With softcap > 0 a score s becomes softcap · tanh(s / softcap) before the softmax. arXiv:2408.00118 §2.',
    ],
    inputs: { q: 'one' },
    outputs: { out: 'one' },
    attributes: { layer: 'u32', headDim: 'u32', scale: 'f32', window: 'u32', softcap: 'f32' },
    infer({ q, headDim }) {
      if (q.width % headDim !== 0) throw shapeMismatch('attention', 'q', `T, n·${headDim}`, `T, ${q.width}`)
      return { out: q }
    },
  }),

  quantize: op({
    doc: ['Quantizes activations to int8: out lists a8_32, a8_256 or both (native/quant/activations.h).'],
    inputs: { x: 'one' },
    outputs: { out: 'list' },
    quantizes: true,
    infer: ({ x }) => ({ out: x }),
  }),

  add: op({
    doc: ['out = a + b. out may be a or b.'],
    inputs: { a: 'one', b: 'one' },
    outputs: { out: 'one' },
    inPlace: ['a', 'b'],
    infer({ a, b }) {
      expectRows('add', 'b', b, a)
      return { out: a }
    },
  }),

  mul: op({
    doc: ['out = a · b, elementwise. out may be a or b.'],
    inputs: { a: 'one', b: 'one' },
    outputs: { out: 'one' },
    inPlace: ['a', 'b'],
    infer({ a, b }) {
      expectRows('mul', 'b', b, a)
      return { out: a }
    },
  }),

  swiglu: op({
    doc: ['out = silu(gate) · up, elementwise. out may be gate or up. arXiv:2002.05202 §2.'],
    inputs: { gate: 'one', up: 'one' },
    outputs: { out: 'one' },
    inPlace: ['gate', 'up'],
    infer({ gate, up }) {
      expectRows('swiglu', 'up', up, gate)
      return { out: gate }
    },
    decompose: (step, d) => gatedBy('silu', step, d),
  }),

  geglu: op({
    doc: ['out = geluTanh(gate) · up, elementwise. out may be gate or up. arXiv:2002.05202 §2.'],
    inputs: { gate: 'one', up: 'one' },
    outputs: { out: 'one' },
    inPlace: ['gate', 'up'],
    infer({ gate, up }) {
      expectRows('geglu', 'up', up, gate)
      return { out: gate }
    },
    decompose: (step, d) => gatedBy('geluTanh', step, d),
  }),

  silu: op({
    doc: ['out = x / (1 + e^−x). out may be x. arXiv:1606.08415 §2.'],
    inputs: { x: 'one' },
    outputs: { out: 'one' },
    inPlace: ['x'],
    infer: ({ x }) => ({ out: x }),
  }),

  geluTanh: op({
    doc: ['out = 0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))). out may be x. arXiv:1606.08415 §2.'],
    inputs: { x: 'one' },
    outputs: { out: 'one' },
    inPlace: ['x'],
    infer: ({ x }) => ({ out: x }),
  }),

  gelu: op({
    doc: ['out = x · Φ(x) = 0.5·x·(1 + erf(x / √2)). out may be x. arXiv:1606.08415 §2.'],
    inputs: { x: 'one' },
    outputs: { out: 'one' },
    inPlace: ['x'],
    infer: ({ x }) => ({ out: x }),
  }),

  softcap: op({
    doc: ['out = cap · tanh(x / cap). out may be x. arXiv:2408.00118 §2 (logit soft-capping).'],
    inputs: { x: 'one' },
    outputs: { out: 'one' },
    attributes: { cap: 'f32' },
    inPlace: ['x'],
    infer: ({ x }) => ({ out: x }),
  }),

  scale: op({
    doc: ['out = factor · x. out may be x.'],
    inputs: { x: 'one' },
    outputs: { out: 'one' },
    attributes: { factor: 'f32' },
    inPlace: ['x'],
    infer: ({ x }) => ({ out: x }),
  }),

  outputRows: op({
    doc: ['out[n, :] = x[outputRows[n], :]: the rows whose logits are wanted.'],
    inputs: { x: 'one' },
    outputs: { out: 'one' },
    infer({ x }) {
      if (x.rows !== 'tokens') throw shapeMismatch('outputRows', 'x', `T, ${x.width}`, `N, ${x.width}`)
      return { out: { rows: 'outputs', width: x.width } }
    },
  }),
}

export type OpName = keyof typeof ops

/** The row of a step; a name that is none is a defect of whoever made the step. */
export function opRow(name: string): AnyOp {
  if (!Object.hasOwn(ops, name)) throw new InfernodeError('PLAN_INVALID', 'op', `there is no op "${name}"`)
  return ops[name as OpName]
}

/** The shapes that a step's operands give its outputs, after checking counts, ranks, rows and widths. */
export function inferShapes(step: GraphStep, values: readonly Value[], weights: readonly { readonly shape: Shape }[]) {
  const row = opRow(step.op)
  const operands: Record<string, unknown> = { ...step.attributes }
  const look = (arities: Readonly<Record<string, Arity>>, given: Operands, at: (id: number) => unknown) => {
    for (const [name, arity] of Object.entries(arities)) {
      const ids = listOf(given[name])
      if (arity.endsWith('list') ? ids.length > listCapacity : ids.length > 1)
        expectCount(step.op, name, ids.length, listCapacity)
      if (!arity.startsWith('optional') && ids.length === 0) expectCount(step.op, name, 0, 1)
      const found = ids.map((id) => (id < 0 ? undefined : at(id)))
      operands[name] = arity.endsWith('list') ? found : found[0]
    }
  }
  look(row.inputs, step.inputs, (id) => values[id])
  look(row.weights, step.weights, (id) => weights[id]?.shape)
  return row.infer(operands)
}

function simple(
  op: string,
  label: string,
  inputs: Operands,
  out: number | readonly number[],
  attributes: GraphStep['attributes'] = {},
): GraphStep {
  return { op, label, inputs, weights: {}, outputs: { out }, attributes }
}

/** A norm that writes int8 becomes one that writes f32, and a quantize. */
function quantizeApart(step: GraphStep, d: Decomposer): GraphStep[] | null {
  const outs = listOf(step.outputs.out)
  const isF32 = (id: number) => d.graph.values[id]!.type === 'f32'
  if (outs.every(isF32)) return null
  const x = outs.find(isF32) ?? d.like(outs[0]!, step.label)
  const quantized = outs.filter((id) => !isF32(id))
  return [{ ...step, outputs: { out: [x] } }, simple('quantize', step.label, { x }, quantized)]
}

function gatedBy(activation: 'silu' | 'geluTanh', step: GraphStep, d: Decomposer): GraphStep[] {
  const activated = d.like(listOf(step.outputs.out)[0]!, `${step.label} ${activation}`)
  return [
    simple(activation, step.label, { x: step.inputs.gate! }, activated),
    simple('mul', step.label, { a: activated, b: step.inputs.up! }, step.outputs.out!),
  ]
}

/** How many experts a routing has for a token. */
function activeOf(op: string, routing: Rows): number {
  if (routing.width % 2 !== 0) throw shapeMismatch(op, 'routing', 'T, 2·active', `T, ${routing.width}`)
  return routing.width / 2
}

function shapeMismatch(op: string, operand: string, expected: string, received: string) {
  return new InfernodeError('SHAPE_MISMATCH', op, operand, expected, received)
}

function expectRank(op: string, operand: string, shape: Shape, rank: number): void {
  if (shape.length !== rank) throw shapeMismatch(op, operand, `${rank} dimensions`, shape.join(', '))
}

function expectShape(op: string, operand: string, shape: Shape, expected: Shape): void {
  if (shape.length !== expected.length || shape.some((n, i) => n !== expected[i])) {
    throw shapeMismatch(op, operand, expected.join(', '), shape.join(', '))
  }
}

function expectRows(op: string, operand: string, value: Rows | undefined, expected: Rows): void {
  const say = ({ rows, width }: Rows) => `${rows === 'tokens' ? 'T' : 'N'}, ${width}`
  if (value?.rows !== expected.rows || value.width !== expected.width) {
    throw shapeMismatch(op, operand, say(expected), value ? say(value) : 'absent')
  }
}

function expectCount(op: string, operand: string, received: number, expected: number): void {
  if (received !== expected) throw shapeMismatch(op, operand, `${expected} operands`, `${received} operands`)
}
