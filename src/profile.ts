/** What the threads of a model did, op by op: totals per op, and a trace for Perfetto. */
import type { Plan, PlanStep } from './graph/plan.js'
import type { NativeProfile } from './native.js'
import { rowBytes, type TensorTypeName } from './tensor-types.js'

export interface OpProfile {
  /** Name in the op table. */
  readonly op: string
  /** Type of the weights; of attention, of the KV cache; empty for ops that have neither. */
  readonly type: string
  /** How often it ran. */
  readonly calls: number
  /** From the first thread's begin to the last one's end, over all calls. */
  readonly milliseconds: number
  /** Of the time of all ops, from 0 to 1. */
  readonly share: number
  /** Part of that time in which the threads worked, from 0 to 1: the rest is waiting for each other. */
  readonly busy: number
  /**
   * Microseconds that sharing a call out among the threads cost, on average: from the end of the op before it to its own end, without
   * the work, as if that had been shared out evenly at no cost. The last op of a run also has what the run took to end.
   */
  readonly overheadMicroseconds: number
  /** Weights, or keys and values, and activations, read or written once, in 10⁹ bytes per second. */
  readonly gigabytesPerSecond: number
  /** Multiply-adds of matrices and attention, in 10⁹ operations (two per multiply-add) per second; 0 for other ops. */
  readonly gigaopsPerSecond: number
}

/** @internal One op in one run. */
export interface OpCall extends Work {
  readonly op: string
  readonly type: string
  /** Of the weights that are matrices: "2048×2048 + 512×2048"; of ops that have none, the widths of what comes out. */
  readonly shape: string
  /** Tokens, or outputs behind the plan's head. */
  readonly rows: number
  readonly body: boolean
  /** From the first thread's begin to the last one's end. */
  readonly microseconds: number
  /** Microseconds of all threads together. */
  readonly worked: number
  /** Among which it was shared out. */
  readonly threads: number
  /** Microseconds from the end of the op before it to its own, less the work divided by the threads. */
  readonly overhead: number
}

interface Run {
  readonly begin: number
  readonly end: number
  readonly tokens: number
  readonly outputs: number
  readonly positions: number
  readonly pairs: number
  readonly threads: number
  readonly body: boolean
}

interface Work {
  readonly bytes: number
  readonly operations: number
}

/** The result of `model.profile()`. */
export class Profile {
  /** Totals per op and type, most time first. */
  readonly ops: readonly OpProfile[]
  /** Runs of the plan's body: steps. */
  readonly steps: number
  /** As in `ops`, over the calls of all ops. */
  readonly overheadMicroseconds: number
  /** Threads that worked. */
  readonly threads: number
  /** Pieces of work for which there was no room in `maxEvents`; the totals are then without them. */
  readonly lost: number
  readonly #plan: Plan
  readonly #kvType: TensorTypeName
  readonly #events: Float64Array
  readonly #runs: readonly Run[]

  /** @internal */
  constructor(plan: Plan, kvType: TensorTypeName, { events, runs, lost }: NativeProfile) {
    this.#plan = plan
    this.#kvType = kvType
    this.#events = events
    this.#runs = Array.from({ length: runs.length / 8 }, (_, i) => {
      const [begin, end, tokens, outputs, positions, pairs, threads, body] = runs.subarray(8 * i, 8 * i + 8)
      const rows = { tokens: tokens!, outputs: outputs!, positions: positions!, pairs: pairs! }
      return { begin: begin!, end: end!, ...rows, threads: threads!, body: body === 1 }
    })
    this.lost = lost
    this.steps = this.#runs.filter((run) => run.body).length
    const threads = new Set<number>()
    for (let i = 4; i < events.length; i += 5) threads.add(events[i]!)
    this.threads = threads.size
    const calls = this.calls()
    this.ops = this.#totals(calls)
    this.overheadMicroseconds = calls.reduce((sum, { overhead }) => sum + overhead, 0) / (calls.length || 1)
  }

  /** Chrome's trace event format, as one JSON value: opens in ui.perfetto.dev and chrome://tracing. Times are microseconds. */
  toChromeTrace(): { traceEvents: object[]; displayTimeUnit: 'ms' } {
    const traceEvents: object[] = [{ ph: 'M', pid: 1, name: 'process_name', args: { name: `infernode (${this.#plan.architecture})` } }]
    const threads = new Set<number>()
    for (const { begin, end, body, tokens, outputs, positions, threads: among } of this.#runs) {
      const args = { ...(body ? { tokens, positions } : { rows: outputs }), threads: among }
      traceEvents.push({ ph: 'X', pid: 1, tid: 0, name: body ? 'step' : 'head', ts: begin, dur: end - begin, args })
    }
    this.#eachEvent((begin, end, run, at, thread) => {
      threads.add(thread)
      const { op, label } = this.#plan.steps[at]!
      traceEvents.push({ ph: 'X', pid: 1, tid: thread + 1, name: op, cat: 'op', ts: begin, dur: end - begin, args: { label, run } })
    })
    traceEvents.push({ ph: 'M', pid: 1, tid: 0, name: 'thread_name', args: { name: 'steps' } })
    for (const thread of threads) {
      traceEvents.push({ ph: 'M', pid: 1, tid: thread + 1, name: 'thread_name', args: { name: `thread ${thread}` } })
    }
    return { traceEvents, displayTimeUnit: 'ms' }
  }

  #eachEvent(visit: (begin: number, end: number, run: number, step: number, thread: number) => void): void {
    for (let i = 0; i < this.#events.length; i += 5) {
      const [begin, end, run, step, thread] = this.#events.subarray(i, i + 5)
      if (run! < this.#runs.length) visit(begin!, end!, run!, step!, thread!)
    }
  }

  /** @internal Every op of every run, in their order. */
  calls(): OpCall[] {
    // A call is an op in a run; its pieces lie on several threads, which record them when they are done.
    const calls = new Map<number, { key: number; run: Run; step: PlanStep; begin: number; end: number; worked: number }>()
    const { steps } = this.#plan
    this.#eachEvent((begin, end, run, at) => {
      const key = run * steps.length + at
      const call = calls.get(key)
      if (!call) calls.set(key, { key, run: this.#runs[run]!, step: steps[at]!, begin, end, worked: end - begin })
      else {
        call.begin = Math.min(call.begin, begin)
        call.end = Math.max(call.end, end)
        call.worked += end - begin
      }
    })
    const ordered = [...calls.values()].sort((a, b) => a.key - b.key)
    return ordered.map(({ run, step, begin, end, worked }, i) => {
      const before = ordered[i - 1]?.run === run ? ordered[i - 1]!.end : run.begin
      const until = ordered[i + 1]?.run === run ? end : run.end
      return {
        op: step.op,
        type: this.#typeOf(step),
        shape: this.#shapeOf(step),
        rows: run.body ? run.tokens : run.outputs,
        body: run.body,
        microseconds: end - begin,
        worked,
        threads: run.threads,
        overhead: until - before - worked / run.threads,
        ...this.#workOf(step, run),
      }
    })
  }

  #totals(calls: readonly OpCall[]): OpProfile[] {
    const none = { calls: 0, time: 0, worked: 0, available: 0, overhead: 0, bytes: 0, operations: 0 }
    const totals = new Map<string, typeof none & { op: string; type: string }>()
    let time = 0
    for (const { op, type, microseconds, worked, threads, overhead, bytes, operations } of calls) {
      const key = `${op} ${type}`
      let total = totals.get(key)
      if (!total) totals.set(key, (total = { op, type, ...none }))
      total.calls++
      total.time += microseconds
      total.worked += worked
      total.available += microseconds * threads
      total.overhead += overhead
      total.bytes += bytes
      total.operations += operations
      time += microseconds
    }
    return [...totals.values()]
      .sort((a, b) => b.time - a.time)
      .map((total) => ({
        op: total.op,
        type: total.type,
        calls: total.calls,
        milliseconds: total.time / 1e3,
        share: total.time / (time || 1),
        busy: total.worked / (total.available || 1),
        overheadMicroseconds: total.overhead / total.calls,
        // Bytes per microsecond are megabytes per second.
        gigabytesPerSecond: total.bytes / (total.time || 1) / 1e3,
        gigaopsPerSecond: total.operations / (total.time || 1) / 1e3,
      }))
  }

  #typeOf(step: PlanStep): string {
    if (step.op === 'attention') return this.#kvType
    return this.#matricesOf(step)[0]?.type ?? ''
  }

  #shapeOf(step: PlanStep): string {
    const matrices = this.#matricesOf(step)
    if (matrices.length > 0) return matrices.map(({ shape }) => shape.join('×')).join(' + ')
    return Object.values(step.outputs)
      .flat()
      .flatMap((index) => this.#plan.values[index]?.width ?? [])
      .join(' + ')
  }

  #matricesOf(step: PlanStep) {
    const found = []
    for (const index of Object.values(step.weights).flat()) {
      const weight = this.#plan.weights[index]
      if (weight && weight.shape.length > 1) found.push(weight)
    }
    return found
  }

  #workOf(step: PlanStep, run: Run): Work {
    const rows = run.body ? run.tokens : run.outputs
    let bytes = 0
    let operations = 0
    for (const operand of [...Object.values(step.inputs).flat(), ...Object.values(step.outputs).flat()]) {
      const value = this.#plan.values[operand]
      if (value) bytes += rows * rowBytes(value.type, value.width)
    }
    if (step.op === 'linear') {
      for (const { type, shape } of this.#matricesOf(step)) {
        bytes += shape[0]! * rowBytes(type, shape[1]!)
        operations += 2 * rows * shape[0]! * shape[1]!
      }
    }
    if (step.inputs.routing !== undefined) {
      // At most so many experts are chosen; which rows choose the same one is not known here.
      const chosen = (rows * this.#plan.values[step.inputs.routing as number]!.width) / 2
      for (const { type, shape } of this.#matricesOf(step)) {
        bytes += Math.min(chosen, shape[0]!) * shape[1]! * rowBytes(type, shape[2]!)
        operations += 2 * chosen * shape[1]! * shape[2]!
      }
    }
    if (step.op === 'attention') {
      const { nKvHeads, headDim } = this.#plan.kv
      const window = Number(step.attributes.window ?? 0)
      const q = this.#plan.values[step.inputs.q as number]
      const pairs = window > 0 ? Math.min(run.pairs, run.tokens * window) : run.pairs
      bytes += 2 * run.positions * nKvHeads * rowBytes(this.#kvType, headDim)
      operations += 4 * pairs * (q?.width ?? 0) // a query's head against keys, then values
    }
    return { bytes, operations }
  }
}
