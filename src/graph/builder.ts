/**
 * The words in which an architecture says what to compute: every call adds a step, checks its shapes and looks up its
 * weights.
 */
import type { Checkpoint, TensorInfo } from '../formats/checkpoint.js'
import { InfernodeError } from '../errors.js'
import { rowBytes, type TensorTypeName, tensorTypes } from '../tensor-types.js'
import type { Graph, GraphStep, Value } from './graph.js'
import { inferShapes, opRow, type OpName, type Rows } from './ops.js'
import type { FileWeight, Operands, PlanWeight } from './plan.js'

export type { Value } from './graph.js'

/** Rotary positions of one kind of layer (src/architectures/rope.ts makes them). */
export interface Rope {
  /** Tells tables of one model apart, for people. */
  readonly name: string
  /** Radians per position of each rotated pair, f32 values; at most headDim / 2 of them. */
  readonly frequencies: readonly number[]
  /** Those of texts that may become longer than `shortLength` positions (LongRoPE). */
  readonly long?: { readonly frequencies: readonly number[]; readonly shortLength: number }
  /** Multiplies cos and sin: the attention factor of YaRN and LongRoPE, else 1. */
  readonly scale: number
  readonly pairing: 'half' | 'interleaved'
  readonly headDim: number
}

export interface AttentionOptions {
  readonly layer: number
  /** [T, H·E] */
  readonly q: Value
  /** [T, K·E] */
  readonly k: Value
  /** [T, K·E] */
  readonly v: Value
  readonly headDim: number
  /** Positions that a query sees, itself included. Default 0: all before it. */
  readonly window?: number
  /** Default 1 / √headDim. */
  readonly scale?: number
  /** Scores become softcap · tanh(score / softcap). Default 0: they stay as they are. */
  readonly softcap?: number
}

/** The shape of a mixture, and the stems of its matrices' names. */
export interface Experts {
  readonly nExperts: number
  /** Rows of gate and up. */
  readonly ffnDim: number
  readonly gate: string
  readonly up: string
  readonly down: string
}

/** true: the bias must be there. 'optional': it is used where the checkpoint has one (GGUF has no field that says so). */
export type HasBias = boolean | 'optional'

/** Consecutive rows of a matrix that the checkpoint stores as several in one: the first one, and how many the matrix has. */
export interface RowsOfMatrix {
  readonly from: number
  readonly of: number
}

/** Stands for the token ids of the step, which the engine feeds. */
interface Tokens {
  readonly tokens: true
}

interface Drawing {
  readonly checkpoint: Checkpoint
  readonly capture: boolean
  readonly values: Value[]
  readonly weights: PlanWeight[]
  readonly weightIds: Map<string, number>
  readonly ropeTables: Map<Rope, Value>
  readonly steps: GraphStep[]
  readonly inputs: { name: string; value: number }[]
  readonly outputs: { name: string; value: number }[]
}

export class GraphBuilder {
  readonly tokens: Tokens = { tokens: true }
  readonly #drawing: Drawing
  readonly #prefix: string

  /** `capture`: keep the values that the architecture names with `capture`, as outputs. */
  constructor(checkpoint: Checkpoint, { capture = false } = {}, within?: { drawing: Drawing; prefix: string }) {
    this.#drawing = within?.drawing ?? {
      checkpoint,
      capture,
      values: [],
      weights: [],
      weightIds: new Map(),
      ropeTables: new Map(),
      steps: [],
      inputs: [],
      outputs: [],
    }
    this.#prefix = within?.prefix ?? ''
  }

  /** The same graph, where tensor names begin with `prefix` and a dot. */
  at(prefix: string): GraphBuilder {
    return new GraphBuilder(this.#drawing.checkpoint, {}, { drawing: this.#drawing, prefix: `${this.#prefix}${prefix}.` })
  }

  /** A value [T, width] that the caller feeds by name. */
  input(name: string, width: number): Value {
    const value = this.#value(name, { rows: 'tokens', width })
    this.#drawing.inputs.push({ name, value: value.id })
    return value
  }

  /** Rows of `<name>.weight` [V, dim] by token id: [T, dim]. */
  embedding(name: string, _tokens: Tokens, dim: number): Value {
    const rows = this.#drawing.checkpoint.tensors.get(`${this.#prefix}${name}.weight`)?.shape[0] ?? 0
    return this.#step('embedding', name, {}, { table: this.#tensor(`${name}.weight`, [rows, dim]) }, { scale: 1 })
  }

  /**
   * x · `<name>.weight`ᵀ (+ `<name>.bias`): [T, out]. Default: no bias. `rows`: only `out` rows of a larger matrix and of its
   * bias, in place.
   */
  linear(name: string, x: Value, out: number, { bias = false, rows }: { bias?: HasBias; rows?: RowsOfMatrix } = {}): Value {
    const { tensors } = this.#drawing.checkpoint
    const weight = this.#tensor(`${name}.weight`, [out, x.width], rows)
    const biased = bias === true || (bias === 'optional' && tensors.has(`${this.#prefix}${name}.bias`))
    const weights: Operands = { weight: [weight], ...(biased && { bias: [this.#tensor(`${name}.bias`, [out], rows)] }) }
    return this.#step('linear', name, { x: [x.id] }, weights, { epilogue: 'none' })
  }

  /** Root mean square norm with `<name>.weight`, over groups of `groupDim` values of a row. Default: the whole row. */
  rmsNorm(name: string, x: Value, eps: number, groupDim = x.width): Value {
    return this.#step('rmsNorm', name, { x: x.id }, { weight: this.#tensor(`${name}.weight`, [groupDim]) }, { eps })
  }

  /** Layer norm of whole rows with `<name>.weight` and `<name>.bias`. */
  layerNorm(name: string, x: Value, eps: number): Value {
    const [weight, bias] = ['weight', 'bias'].map((part) => this.#tensor(`${name}.${part}`, [x.width])) as [number, number]
    return this.#step('layerNorm', name, { x: x.id }, { weight, bias }, { eps })
  }

  /** Rows of `<name>.weight` [positions, dim] by the position of each token: [T, dim]. */
  positionEmbedding(name: string, positions: number, dim: number): Value {
    return this.#step('positionEmbedding', name, {}, { table: this.#tensor(`${name}.weight`, [positions, dim]) })
  }

  /** Turns every head of x by the position of its token. Layers that share a `Rope` object share its table. */
  rope(x: Value, rope: Rope): Value {
    const { headDim, pairing } = rope
    return this.#step('rope', `${x.name} rope`, { x: x.id, table: this.#ropeTable(rope).id }, {}, { headDim, pairing })
  }

  /** Causal attention of this step's queries over the layer's cache, with this step's own keys and values in it: [T, H·E]. */
  attention(options: AttentionOptions): Value {
    const { layer, q, k, v, headDim, window = 0, scale = 1 / Math.sqrt(headDim), softcap = 0 } = options
    if (k.width % headDim !== 0 || q.width % k.width !== 0) {
      throw new InfernodeError('SHAPE_MISMATCH', 'attention', 'k', `T, a divisor of ${q.width}`, `T, ${k.width}`)
    }
    this.#step('kvWrite', 'kv', { k: k.id, v: v.id }, {}, { layer })
    return this.#step('attention', 'attention', { q: q.id }, {}, { layer, headDim, scale, window, softcap })
  }

  add(a: Value, b: Value): Value {
    return this.#step('add', 'add', { a: a.id, b: b.id })
  }

  mul(a: Value, b: Value): Value {
    return this.#step('mul', 'mul', { a: a.id, b: b.id })
  }

  /** silu(gate) · up */
  swiglu(gate: Value, up: Value): Value {
    return this.#step('swiglu', 'swiglu', { gate: gate.id, up: up.id })
  }

  /** geluTanh(gate) · up */
  geglu(gate: Value, up: Value): Value {
    return this.#step('geglu', 'geglu', { gate: gate.id, up: up.id })
  }

  silu(x: Value): Value {
    return this.#step('silu', 'silu', { x: x.id })
  }

  geluTanh(x: Value): Value {
    return this.#step('geluTanh', 'geluTanh', { x: x.id })
  }

  /** x · Φ(x), exactly; `geluTanh` is the approximation. */
  gelu(x: Value): Value {
    return this.#step('gelu', 'gelu', { x: x.id })
  }

  /** cap · tanh(x / cap) */
  softcap(x: Value, cap: number): Value {
    return this.#step('softcap', 'softcap', { x: x.id }, {}, { cap })
  }

  /** The `active` best of the experts that x [T, E] scores, and their weights: [T, 2·active], which `experts` reads. */
  route(x: Value, active: number, gating: 'softmax' | 'softmaxOfChosen'): Value {
    return this.#step('route', 'route', { x: x.id }, {}, { active, gating })
  }

  /**
   * Σ weight · down[e] · (silu(gate[e] · x) · up[e] · x) over the experts e chosen for each token: [T, D]. Matrices are
   * `<name>.<stem>.weight` [E, out, in], or `<name>.<e>.<stem>.weight` one by one.
   */
  experts(name: string, x: Value, routing: Value, { nExperts, ffnDim, gate, up, down }: Experts): Value {
    const stack = (stem: string, out: number, from: number) => this.#stack(name, stem, [nExperts, out, from])
    const inner = { gate: stack(gate, ffnDim, x.width), up: stack(up, ffnDim, x.width) }
    const hidden = this.#step('expertsSwiglu', `${name}.{${gate},${up}}`, { x: [x.id], routing: routing.id }, inner)
    const outer = { down: stack(down, x.width, ffnDim) }
    return this.#step('expertsSum', `${name}.${down}`, { x: [hidden.id], routing: routing.id }, outer)
  }

  scale(x: Value, factor: number): Value {
    return this.#step('scale', 'scale', { x: x.id }, {}, { factor })
  }

  /** Only the rows whose logits are wanted: [N, D]. */
  outputRows(x: Value): Value {
    return this.#step('outputRows', 'outputRows', { x: x.id })
  }

  /** Names a value for tests and tools; without `capture` it does nothing. Gives the value back. */
  capture(name: string, value: Value): Value {
    if (this.#drawing.capture) this.output(name, value)
    return value
  }

  /** Names a value that the caller gets. */
  output(name: string, value: Value): void {
    this.#drawing.outputs.push({ name, value: value.id })
  }

  /** Everything so far. */
  finish(): Graph {
    const { values, weights, steps, inputs, outputs } = this.#drawing
    return { values, weights, steps, inputs, outputs }
  }

  #step(
    op: OpName,
    name: string,
    inputs: Operands,
    weights: Operands = {},
    attributes: Record<string, number | string> = {},
  ): Value {
    const { values, steps } = this.#drawing
    const row = opRow(op)
    for (const [key, type] of Object.entries(row.attributes)) {
      // As the kernel will see it, so that a plan says exactly what is computed.
      if (type === 'f32') attributes[key] = Math.fround(attributes[key] as number)
    }
    const label = name.startsWith(this.#prefix) ? name : this.#prefix + name
    const step: GraphStep = { op, label, inputs, weights, outputs: {}, attributes }
    const { out } = inferShapes(step, values, this.#drawing.weights)
    if (!out) {
      steps.push(step)
      return undefined as never // only kvWrite, which nobody can read
    }
    const value = this.#value(label, Array.isArray(out) ? out[0] : out)
    steps.push({ ...step, outputs: { out: row.outputs.out === 'list' ? [value.id] : value.id } })
    return value
  }

  #value(name: string, { rows, width }: Rows): Value {
    const value: Value = { id: this.#drawing.values.length, name, rows, width, type: 'f32' }
    this.#drawing.values.push(value)
    return value
  }

  #ropeTable(rope: Rope): Value {
    const { ropeTables, weights } = this.#drawing
    let table = ropeTables.get(rope)
    if (!table) {
      const constant = (name: string, values: readonly number[]) => {
        const data = values.map(Math.fround)
        return weights.push({ name, type: 'f32', shape: [data.length], data }) - 1
      }
      const frequencies = {
        frequencies: constant(rope.name, rope.frequencies),
        ...(rope.long && { longFrequencies: constant(`${rope.name}.long`, rope.long.frequencies) }),
      }
      const top = new GraphBuilder(this.#drawing.checkpoint, {}, { drawing: this.#drawing, prefix: '' })
      const attributes = { scale: rope.scale, shortLength: rope.long?.shortLength ?? 0 }
      table = top.#step('ropeTable', rope.name, {}, frequencies, attributes)
      ropeTables.set(rope, table)
    }
    return table
  }

  /** The matrices of all experts as one weight, wherever they are. */
  #stack(name: string, stem: string, shape: readonly [number, number, number]): number {
    const { checkpoint, weights } = this.#drawing
    if (checkpoint.tensors.has(`${this.#prefix}${name}.${stem}.weight`)) return this.#tensor(`${name}.${stem}.weight`, shape)
    const [nExperts, ...each] = shape
    const parts: [number, number][] = []
    const types = new Set<TensorTypeName>()
    let first: FileWeight | undefined
    for (let e = 0; e < nExperts; e++) {
      const tensor = this.#find(`${name}.${e}.${stem}.weight`, each)
      const one = placed(tensor, checkpoint)
      first ??= one
      types.add(one.type)
      if (types.size > 1 || one.storedColumns !== undefined) {
        throw new InfernodeError('TENSOR_TYPE_UNSUPPORTED', tensor.name, checkpoint.path, one.type)
      }
      parts.push([one.file, one.offset])
    }
    weights.push({ ...first!, name: `${this.#prefix}${name}.*.${stem}.weight`, shape, parts })
    return weights.length - 1
  }

  /** The tensor, after a check of its shape. */
  #find(name: string, shape: readonly number[]): TensorInfo {
    const { checkpoint } = this.#drawing
    const full = this.#prefix + name
    const tensor = checkpoint.tensors.get(full)
    if (!tensor) throw new InfernodeError('TENSOR_MISSING', full, checkpoint.path, nearestName(full, checkpoint.tensors.keys()))
    if (tensor.shape.length !== shape.length || tensor.shape.some((n, i) => n !== shape[i])) {
      throw new InfernodeError('TENSOR_SHAPE', full, checkpoint.path, shape.join(', '), tensor.shape.join(', '))
    }
    return tensor
  }

  /** Checks the whole tensor, and places the rows that are asked for. Rows keep the tensor's name: it is what is read. */
  #tensor(name: string, part: readonly number[], rows?: RowsOfMatrix): number {
    const { checkpoint, weights, weightIds } = this.#drawing
    const full = this.#prefix + name
    const key = rows ? `${full}[${rows.from}+${part[0]!}]` : full
    const known = weightIds.get(key)
    const tensor = this.#find(name, rows ? [rows.of, ...part.slice(1)] : part)
    if (known !== undefined) return known
    if (rows && rows.from + part[0]! > rows.of) {
      throw new InfernodeError('SHAPE_MISMATCH', full, 'rows', `at most ${rows.of}`, `${rows.from} + ${part[0]!}`)
    }
    const whole = placed(tensor, checkpoint)
    const perRow = tensor.transposed ? 1 : part.slice(1).reduce((a, b) => a * b, 1)
    const skipped = (rows?.from ?? 0) * perRow
    weights.push({ ...whole, shape: part, offset: whole.offset + rowBytes(whole.type, skipped) })
    weightIds.set(key, weights.length - 1)
    return weights.length - 1
  }
}

/**
 * What a graph or plan leaves unread: `inspect` lists it. Rotary factors are read while the graph is built, and are not in
 * the list.
 */
export function unusedTensors(checkpoint: Checkpoint, graph: { readonly weights: readonly PlanWeight[] }): string[] {
  const used = usedNames(graph)
  return [...checkpoint.tensors.keys()].filter((name) => !used.has(name) && !ropeFactorNames.includes(name))
}

/** Under which names GGUF keeps rotary factors (src/architectures/rope.ts reads them). */
export const ropeFactorNames: readonly string[] = [
  'rope_freqs.weight',
  'rope_factors_long.weight',
  'rope_factors_short.weight',
]

/** The tensors that a graph reads: a stack of experts is many. */
function usedNames({ weights }: { readonly weights: readonly PlanWeight[] }): Set<string> {
  const namesOf = (weight: PlanWeight) =>
    'parts' in weight && weight.parts ? weight.parts.map((_, e) => weight.name.replace('*', String(e))) : [weight.name]
  return new Set(weights.flatMap(namesOf))
}

/** Old checkpoints store what is computed from the config anyway, GPT-2's even the causal mask. */
const harmless = /\.(rotary_emb\.inv_freq|attn_rot_embd\.weight)$|^transformer\.h\.\d+\.attn\.(masked_)?bias$/

/**
 * Throws FORMAT_UNSUPPORTED for a tensor that would be passed over in silence although it belongs to what is computed: one of
 * a layer that the graph has, or the bias of a matrix that it reads. Others (a second head, layers beyond the config's) may
 * stay unread.
 */
export function refuseOverlooked(checkpoint: Checkpoint, graph: { readonly weights: readonly PlanWeight[] }): void {
  const layerOf = (name: string) => /^(?:model\.layers|transformer\.h|blk)\.(\d+)\./.exec(name)?.[1]
  const used = usedNames(graph)
  const layers = new Set([...used].map(layerOf).filter((layer) => layer !== undefined))
  for (const name of unusedTensors(checkpoint, graph)) {
    const layer = layerOf(name)
    const bias = name.endsWith('.bias') && used.has(name.replace(/bias$/, 'weight'))
    if (harmless.test(name) || !(bias || (layer !== undefined && layers.has(layer)))) continue
    const shown = name.length > 200 ? `${name.slice(0, 200)}…` : name
    const reason = `a model of the type "${checkpoint.modelType}" has no place for it, so its text would be wrong`
    throw new InfernodeError('FORMAT_UNSUPPORTED', checkpoint.path, `tensor "${shown}"`, reason)
  }
}

/** Where the tensor is. Vectors become f32 and transposed matrices are turned when they are loaded: only plain types can. */
function placed({ name, type, shape, file, offset, add, transposed }: TensorInfo, checkpoint: Checkpoint): FileWeight {
  const { activations, blockValues } = tensorTypes[type]
  const plain = shape.length === 1 || transposed
  const computable = plain ? blockValues === 1 && activations === 'f32' : activations !== null
  if (!computable || (add !== undefined && shape.length !== 1)) {
    throw new InfernodeError('TENSOR_TYPE_UNSUPPORTED', name, checkpoint.path, type)
  }
  const more = { ...(add === undefined ? {} : { add }), ...(transposed ? { storedColumns: shape[0]! } : {}) }
  return { name, type, shape, file, offset, ...more }
}

/** The name with the fewest edits. Hostile files have long lists of long names, so both are limited. */
export function nearestName(name: string, names: Iterable<string>): string {
  let nearest = ''
  let fewest = Infinity
  let looked = 0
  for (const other of names) {
    if (++looked > 5000) break
    if (other.length > 200 || Math.abs(other.length - name.length) >= fewest) continue
    const edits = editDistance(name, other)
    if (edits < fewest) [fewest, nearest] = [edits, other]
  }
  return nearest
}

function editDistance(a: string, b: string): number {
  let above = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      row[j] = Math.min(above[j]! + 1, row[j - 1]! + 1, above[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1))
    }
    above = row
  }
  return above[b.length]!
}
