/** Runs a plan, or a graph before planning, in float64 over one whole sequence. Quantizing activations changes nothing here. */
import { readFileSync } from 'node:fs'
import { type Graph, listOf } from '../../src/graph/graph.js'
import { opRow } from '../../src/graph/ops.js'
import type { FileWeight, Plan, PlanStep, PlanValue, PlanWeight } from '../../src/graph/plan.js'
import { attention } from './attention.js'
import { add, geglu, gelu, geluTanh, mul, scale, silu, softcap, swiglu } from './elementwise.js'
import { embedding, outputRows, positionEmbedding } from './gather.js'
import { linear } from './matmul.js'
import { expertsSum, expertsSwiglu, route, type Stack } from './moe.js'
import { map, matrix, type Matrix } from './matrix.js'
import { layerNorm, rmsNorm } from './norm.js'
import { bytesOf, decode } from './quant.js'
import { rope, ropeTable } from './rope.js'

export interface RunOptions {
  readonly tokens?: readonly number[]
  /** Rows that the head runs on. Default: all. */
  readonly outputs?: readonly number[]
  /** Positions that the sequence may come to have. Default: those of the tokens. */
  readonly longest?: number
  /** Values that the caller feeds, by name. */
  readonly inputs?: Readonly<Record<string, Matrix>>
}

type Runnable = (Graph | Plan) & { readonly files: readonly { readonly path: string }[] }

/** Every named output. Throws where a planned value is read after another one took its place. */
export function runPlan(
  plan: Runnable,
  { tokens = [], outputs = tokens.map((_, t) => t), inputs = {}, longest = tokens.length }: RunOptions,
): Map<string, Matrix> {
  const weights = new Weights(plan)
  const arena = new Arena(plan)
  for (const { name, value } of plan.inputs) arena.write([value], [inputs[name]!])
  const cache = new Map<number, { k: Matrix; v: Matrix }>()
  for (const step of plan.steps) {
    const value = (name: string) => arena.read(listOf(step.inputs[name])[0]!)
    const weight = (name: string) => weights.read(listOf(step.weights[name])[0]!)
    const stack = (name: string) => weights.stack(listOf(step.weights[name])[0]!)
    const attribute = (name: string) => step.attributes[name] as number
    const results = (): Matrix[] => {
      switch (step.op) {
        case 'embedding':
          return [embedding(weight('table'), tokens, attribute('scale'))]
        case 'route':
          return [route(value('x'), attribute('active'), String(step.attributes.gating))]
        case 'expertsSwiglu':
          return [expertsSwiglu(value('x'), value('routing'), stack('gate'), stack('up'))]
        case 'expertsSum':
          return [expertsSum(value('x'), value('routing'), stack('down'))]
        case 'positionEmbedding':
          return [positionEmbedding(weight('table'), tokens.length)]
        case 'linear':
          return runLinear(step, arena, weights)
        case 'rmsNorm': {
          const normed = rmsNorm(value('x'), weight('weight').data, attribute('eps'))
          return listOf(step.outputs.out).map(() => normed)
        }
        case 'layerNorm': {
          const bias = step.weights.bias === undefined ? null : weight('bias').data
          const normed = layerNorm(value('x'), weight('weight').data, bias, attribute('eps'))
          return listOf(step.outputs.out).map(() => normed)
        }
        case 'ropeTable': {
          const long = step.weights.longFrequencies !== undefined && longest > attribute('shortLength')
          const positions = tokens.map((_, t) => t)
          return [ropeTable(positions, weight(long ? 'longFrequencies' : 'frequencies').data, attribute('scale'))]
        }
        case 'rope':
          return [rope(value('x'), value('table'), attribute('headDim'), String(step.attributes.pairing))]
        case 'kvWrite':
          cache.set(attribute('layer'), { k: value('k'), v: value('v') })
          return []
        case 'attention': {
          const { k, v } = cache.get(attribute('layer'))!
          return [
            attention(value('q'), k, v, {
              headDim: attribute('headDim'),
              scale: attribute('scale'),
              window: attribute('window'),
              softcap: attribute('softcap'),
            }),
          ]
        }
        case 'quantize':
          return listOf(step.outputs.out).map(() => value('x'))
        case 'add':
          return [add(value('a'), value('b'))]
        case 'mul':
          return [mul(value('a'), value('b'))]
        case 'swiglu':
          return [swiglu(value('gate'), value('up'))]
        case 'geglu':
          return [geglu(value('gate'), value('up'))]
        case 'silu':
          return [silu(value('x'))]
        case 'geluTanh':
          return [geluTanh(value('x'))]
        case 'gelu':
          return [gelu(value('x'))]
        case 'softcap':
          return [softcap(value('x'), attribute('cap'))]
        case 'scale':
          return [scale(value('x'), attribute('factor'))]
        case 'outputRows':
          return [outputRows(value('x'), outputs)]
        default:
          throw new Error(`the reference has no op ${step.op}`)
      }
    }
    const ids = Object.values(step.outputs).flatMap(listOf)
    arena.checkInPlace(step)
    arena.write(ids, results())
  }
  return new Map(plan.outputs.map(({ name, value }) => [name, arena.read(value)]))
}

function runLinear(step: PlanStep, arena: Arena, weights: Weights): Matrix[] {
  // In float64 all forms of the input are the same numbers.
  const x = arena.read(listOf(step.inputs.x)[0]!)
  const biases = listOf(step.weights.bias)
  const products = listOf(step.weights.weight).map((id, i) => {
    const bias = (biases[i] ?? -1) < 0 ? undefined : weights.read(biases[i]!).data
    return linear(x, weights.read(id), bias)
  })
  switch (step.attributes.epilogue) {
    case 'none':
      return products
    case 'add':
      return [add(products[0]!, arena.read(listOf(step.inputs.residual)[0]!))]
    case 'swiglu':
      return [swiglu(products[0]!, products[1]!)]
    case 'geglu':
      return [geglu(products[0]!, products[1]!)]
    default:
      throw new Error(`the reference has no epilogue ${String(step.attributes.epilogue)}`)
  }
}

/** Weights as float64, decoded when first asked for; a plan's files are small here. */
class Weights {
  readonly #decoded = new Map<number, Matrix>()
  readonly #files = new Map<number, Uint8Array>()
  constructor(readonly plan: Runnable) {}

  read(id: number): Matrix {
    let found = this.#decoded.get(id)
    if (!found) {
      found = this.#decode(this.plan.weights[id]!)
      this.#decoded.set(id, found)
    }
    return found
  }

  /** The matrices of a stack, each decoded when first asked for. */
  stack(id: number): Stack {
    const weight = this.plan.weights[id] as FileWeight
    const shape = weight.shape.slice(1)
    const places = weight.parts ?? Array.from({ length: weight.shape[0]! }, (_, e) => [weight.file, weight.offset + e * bytesOf(weight.type, shape)] as const)
    const decoded: Matrix[] = []
    return (e) => {
      const [file, offset] = places[e]!
      return (decoded[e] ??= this.#decode({ ...weight, shape, file, offset }))
    }
  }

  #decode(weight: PlanWeight): Matrix {
    const [rows, width] = weight.shape.length === 2 ? [weight.shape[0]!, weight.shape[1]!] : [1, weight.shape[0]!]
    if ('data' in weight) return { rows, width, data: Float64Array.from(weight.data) }
    const { file, offset, type, add = 0, storedColumns } = weight
    if (!this.#files.has(file)) this.#files.set(file, readFileSync(this.plan.files[file]!.path))
    if (storedColumns !== undefined) {
      const stored = [1, (width - 1) * storedColumns + rows]
      const data = decode(type, this.#files.get(file)!.subarray(offset, offset + bytesOf(type, stored)))
      return matrix(rows, width, (r, c) => data[c * storedColumns + r]!)
    }
    const bytes = this.#files.get(file)!.subarray(offset, offset + bytesOf(type, weight.shape))
    return map({ rows, width, data: decode(type, bytes) }, (value) => value + add)
  }
}

/**
 * Values by id. In a plan, writing one forgets every other that shares bytes with it, so a wrong place shows as a failed
 * read.
 */
class Arena {
  readonly #values = new Map<number, Matrix>()
  constructor(readonly plan: Runnable) {}

  read(id: number): Matrix {
    const value = this.#values.get(id)
    if (!value) throw new Error(`value ${id} (${this.plan.values[id]!.name}) is not there when it is read`)
    return value
  }

  write(ids: readonly number[], results: readonly Matrix[]): void {
    for (const id of ids) {
      for (const other of [...this.#values.keys()]) if (this.#overlap(id, other)) this.#values.delete(other)
    }
    ids.forEach((id, i) => {
      if (results[i]!.width !== this.plan.values[id]!.width) throw new Error(`value ${id} has another width than the plan says`)
      this.#values.set(id, results[i]!)
    })
  }

  /** Outputs keep clear of each other, and of inputs but those that the op table allows them to replace, at the same place. */
  checkInPlace(step: PlanStep): void {
    const outs = Object.values(step.outputs).flatMap(listOf)
    const allowed = opRow(step.op).inPlace.flatMap((name) => listOf(step.inputs[name]))
    for (const out of outs) {
      for (const other of outs)
        if (other !== out && this.#overlap(out, other)) throw new Error(`${step.label}: outputs overlap`)
      for (const id of Object.values(step.inputs).flatMap(listOf)) {
        if (!this.#overlap(out, id)) continue
        const [a, b] = [this.plan.values[out] as PlanValue, this.plan.values[id] as PlanValue]
        if (!allowed.includes(id) || a.offset !== b.offset || a.stride !== b.stride)
          throw new Error(`${step.label}: out overlaps an input`)
      }
    }
  }

  #overlap(a: number, b: number): boolean {
    const [x, y] = [this.plan.values[a]!, this.plan.values[b]!]
    if (!('offset' in x) || !('offset' in y)) return false
    return x.rows === y.rows && x.offset < y.offset + y.stride && y.offset < x.offset + x.stride
  }
}
