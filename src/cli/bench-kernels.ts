/** `infernode bench kernels`: every op of models of real shapes, beside this machine's limits. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Command } from 'commander'
import { targetTypes } from '../convert.js'
import type { TargetType } from '../convert/choose-types.js'
import { type MachinePeaks, measureMachine, Model, type Profile, runtime } from '../index.js'
import { native } from '../native.js'
import type { OpCall } from '../profile.js'
import { type TensorTypeName, tensorTypes } from '../tensor-types.js'
import { benchShapes, shortened } from './bench-shapes.js'
import { drawRoofline } from './roofline.js'
import { median, quantile } from './statistics.js'
import { writeSynthetic } from './synthetic.js'
import { interruption, jsonOption, number, progress, remark, table, UsageError, write, writeJson } from './terminal.js'

interface Flags {
  shape: string
  type: string
  isa?: string
  tokens: string
  positions: number
  threads?: number
  repeat: number
  all?: boolean
  svg?: string
  json?: boolean
}

/** One op with one shape of weights, one type, one number of tokens. Times are microseconds of a call. */
export interface KernelRow {
  /** Whose widths these are. */
  readonly model: string
  readonly isa: string
  readonly op: string
  /** Of the weights; of attention, of the KV cache. Empty for ops that have neither. */
  readonly type: string
  /** Of the weights that are matrices; of ops that have none, the widths of what comes out. */
  readonly shape: string
  readonly tokens: number
  readonly calls: number
  readonly microseconds: number
  readonly p10: number
  readonly p90: number
  readonly gigabytesPerSecond: number
  readonly gigaopsPerSecond: number
  readonly opsPerByte: number
  /** Which limit the op meets first, and how much of it is reached. Nothing where the op neither multiplies nor leaves the caches. */
  readonly limit: 'read' | 'int8' | 'bf16' | 'f32' | ''
  readonly shareOfLimit: number
}

/** Seconds for the repetitions of a prompt with --all: the scalar variant would take hours for them. */
const patience = 10

type Measured = Omit<KernelRow, 'limit' | 'shareOfLimit'>

const help = `
The kernels are measured where they work: in models of real widths, of as few layers as no cache holds (160 MB), with random weights
that are written to the system's temporary folder. A profile tells how long each call took, from the first thread's begin to the
last one's end; medians over calls are printed, JSON has the 10th and 90th percentile, too. The limits are measured in the same run: plain
reading of memory, and multiply-adds in registers, in int8, bf16 or (other floats, attention) f32. An op is compared with the one
that it meets first: a product with few tokens reads, one with many computes. What works in caches may be faster than memory.

With --all, a variant that takes longer than ${patience} s for the repetitions of a prompt does fewer ("calls" in JSON counts them).
Interrupted, it prints what it has measured, in JSON with "interrupted": true.

Matrices whose rows are no whole number of a type's blocks get the type that \`infernode quantize\` gives them.

Shapes: ${Object.keys(benchShapes).join(', ')}.

Examples:
  $ infernode bench kernels
  $ infernode bench kernels --svg roofline.svg --type q8_0,q4_k --isa avx512_vnni,avx2
  $ infernode bench kernels --shape gemma-3-270m --tokens 1,8,64,512 --json
  $ infernode bench kernels --all --json > kernels.json    every shape, type and variant: takes hours`

export function addBenchKernels(bench: Command): void {
  bench
    .command('kernels')
    .summary('measure every op of models of real shapes')
    .description("Measures every op of models of real shapes: bytes and operations per second, beside this machine's limits.")
    .option('--shape <names>', 'models whose widths are taken', 'llama-3.2-1b')
    .option('--type <types>', 'types of the weights', 'q8_0,q4_0,q4_k,q6_k,bf16')
    .option('--isa <names>', 'ISA variants of the kernels; `infernode info` lists them (default: the best)')
    .option('--tokens <counts>', 'tokens that are computed together', '1,512')
    .option('--positions <n>', 'positions before a single token, for attention to read', number, 1024)
    .option('--threads <n>', 'threads of a step (default: as many as are useful here)', number)
    .option('-r, --repeat <n>', 'repetitions of prompts', number, 5)
    .option('--all', 'every shape, type and ISA variant')
    .option('--svg <file>', 'draw a roofline: operations per second over operations per byte')
    .addOption(jsonOption())
    .addHelpText('after', help)
    .action(benchKernels)
}

async function benchKernels(flags: Flags): Promise<void> {
  const { threads } = flags
  const machine = await runtime({ ...(threads !== undefined && { threads }) })
  const choose = (option: string, given: string, known: readonly string[]): string[] => {
    const names = given.split(',')
    for (const name of names)
      if (!known.includes(name)) throw new UsageError(`${option}: there is no ${name} here; there are ${known.join(', ')}.`)
    return names
  }
  const types = targetTypes()
  const isas = machine.isas
  const plan = {
    shapes: flags.all ? Object.keys(benchShapes) : choose('--shape', flags.shape, Object.keys(benchShapes)),
    types: flags.all ? types : (choose('--type', flags.type, types) as TargetType[]),
    isas: flags.all ? isas : choose('--isa', flags.isa ?? machine.isa, isas),
    tokens: flags.tokens.split(',').map(Number),
  }
  const checkCounts = (option: string, counts: readonly number[], most: number): void => {
    const fine = counts.every((count) => Number.isInteger(count) && count >= 1 && count <= most)
    if (!fine) throw new UsageError(`${option} takes whole numbers from 1 to ${most}.`)
  }
  checkCounts('--tokens', plan.tokens, 512) // more are computed in several steps
  checkCounts('--positions', [flags.positions], 8192)
  checkCounts('--repeat', [flags.repeat], 1000)

  let interrupted = false
  const measured: Measured[] = []
  const peaks: Record<string, MachinePeaks> = {}
  const folder = await mkdtemp(join(tmpdir(), 'infernode-bench-'))
  try {
    for (const shape of plan.shapes)
      for (const type of plan.types) {
        progress(`${shape}, ${type}: writing weights`)
        const path = join(folder, 'model.gguf')
        await writeSynthetic(path, shortened(benchShapes[shape]!, type), type)
        for (const isa of plan.isas) {
          progress(`${shape}, ${type}, ${isa}`)
          peaks[isa] = best(peaks[isa], await measureMachine({ isa, threads: machine.threads, milliseconds: 300 }))
          const calls = await callsOf(path, isa, machine.threads, plan.tokens, flags)
          measured.push(...rowsOf(calls, { model: shape, isa }))
        }
      }
  } catch (error) {
    if (!interruption.signal.aborted || measured.length === 0) throw error
    interrupted = true
    remark('interrupted: this is what was measured until then')
  } finally {
    progress('')
    await rm(folder, { recursive: true, force: true })
  }
  const rows = measured.map((row): KernelRow => ({ ...row, ...limitOf(row, peaks[row.isa]!) }))
  const about = {
    version: machine.packageVersion,
    date: new Date().toISOString(),
    cpu: machine.cpuModel,
    threads: machine.threads,
    repeat: flags.repeat,
    interrupted,
  }
  if (flags.svg !== undefined) {
    await writeFile(flags.svg, drawRoofline(rows, peaks, about))
    remark(`wrote ${flags.svg}`)
  }
  if (flags.json) return writeJson({ ...about, native: native().info().version, peaks, rows })
  await write(`${kernelTable(rows)}\n`)
  for (const [isa, limits] of Object.entries(peaks)) {
    const gops = (macs: number): string => ((2 * macs) / 1e9).toFixed(0)
    const computes = `${gops(limits.int8MacsPerSecond)} GOP/s in int8, ${gops(limits.bf16MacsPerSecond)} in bf16, ${gops(limits.f32MacsPerSecond)} in f32`
    remark(`${isa}: reads ${(limits.readBytesPerSecond / 1e9).toFixed(1)} GB/s, computes ${computes}`)
  }
  remark(`${about.cpu}, ${about.threads} threads, infernode ${about.version}, ${about.date.slice(0, 10)}; medians`)
}

/** Calls of every op with each number of tokens. */
async function callsOf(path: string, isa: string, threads: number, tokens: readonly number[], flags: Flags): Promise<OpCall[]> {
  const longest = Math.max(flags.positions + steps + 1, ...tokens)
  const model = await Model.load(path, {
    ...{ isa, threads, contextLength: longest + 1, cacheTokens: 2 * longest + 128 },
    signal: interruption.signal,
  })
  const calls: OpCall[] = []
  try {
    let turn = 1
    const run = (nPrompt: number, maxTokens: number, ids: number): Promise<unknown> => {
      const options = { maxTokens, temperature: 0, logitBias: { 2: -Infinity }, signal: interruption.signal }
      return model.generate(randomIds(nPrompt, model.info.vocabSize, ids), options).result()
    }
    for (const n of tokens) {
      // What comes before single tokens is computed once: it lies in the cache of prefixes after that.
      const work = n === 1 ? () => run(flags.positions, steps, 0) : () => run(n, 1, turn++)
      await (n === 1 ? run(flags.positions, 2, 0) : work()) // pages come into memory
      const end = flags.all ? performance.now() + 1000 * patience : Infinity
      for (let i = 0; i < (n === 1 ? 1 : flags.repeat) && (i === 0 || performance.now() < end); i++) {
        const profile: Profile = await model.profile(work)
        calls.push(...profile.calls().filter(({ rows, body }) => rows === n && (body || n === 1)))
      }
    }
  } finally {
    await model.dispose()
  }
  return calls
}

/** Tokens that are generated one by one. */
const steps = 24

/** Others in every turn, so that no cache of prefixes helps. */
function randomIds(count: number, vocabSize: number, turn: number): number[] {
  let x = 12345 + 7919 * turn
  return Array.from({ length: count }, () => 300 + (((x = Math.imul(x, 1103515245) + 12345) >>> 1) % (vocabSize - 300)))
}

function rowsOf(calls: readonly OpCall[], where: { model: string; isa: string }): Measured[] {
  const groups = new Map<string, OpCall[]>()
  for (const call of calls) {
    const key = [call.op, call.type, call.shape, call.rows].join()
    groups.set(key, [...(groups.get(key) ?? []), call])
  }
  return [...groups.values()].map((group) => {
    const { op, type, shape, rows: tokens } = group[0]!
    const times = group.map(({ microseconds }) => microseconds)
    const time = median(times)
    const [bytes, operations] = [median(group.map((call) => call.bytes)), median(group.map((call) => call.operations))]
    // A millionth of a second and bytes: megabytes per second.
    const [gigabytesPerSecond, gigaopsPerSecond] = [bytes / time / 1e3, operations / time / 1e3]
    return {
      ...{ ...where, op, type, shape, tokens, calls: group.length, microseconds: time, p10: quantile(times, 0.1), p90: quantile(times, 0.9) },
      ...{ gigabytesPerSecond, gigaopsPerSecond, opsPerByte: operations / (bytes || 1) },
    }
  })
}

/** The limits are those of the quietest moments between all the measurements: neighbours can only lower them. */
function best(a: MachinePeaks | undefined, b: MachinePeaks): MachinePeaks {
  const larger = (name: keyof MachinePeaks): number => Math.max(a?.[name] ?? 0, b[name])
  return {
    ...{ readBytesPerSecond: larger('readBytesPerSecond'), int8MacsPerSecond: larger('int8MacsPerSecond') },
    ...{ bf16MacsPerSecond: larger('bf16MacsPerSecond'), f32MacsPerSecond: larger('f32MacsPerSecond') },
  }
}

function limitOf({ op, type, gigabytesPerSecond, gigaopsPerSecond }: Measured, peaks: MachinePeaks) {
  if (gigaopsPerSecond === 0) return { limit: '', shareOfLimit: 0 } as const
  const arithmetic = arithmeticOf(op, type)
  const reading = (1e9 * gigabytesPerSecond) / peaks.readBytesPerSecond
  const computing = (1e9 * gigaopsPerSecond) / (2 * peaks[`${arithmetic}MacsPerSecond`])
  return { limit: reading > computing ? 'read' : arithmetic, shareOfLimit: Math.max(reading, computing) } as const
}

function arithmeticOf(op: string, type: string): 'int8' | 'bf16' | 'f32' {
  if (op === 'attention') return 'f32' // whatever the cache's type
  if (type === 'bf16') return 'bf16'
  return tensorTypes[type as TensorTypeName]?.activations === 'f32' ? 'f32' : 'int8'
}

function kernelTable(rows: readonly KernelRow[]): string {
  const cells = rows.map((row) => [
    row.model,
    row.isa,
    row.op,
    row.type,
    row.shape,
    String(row.tokens),
    row.microseconds.toFixed(1),
    `${row.p10.toFixed(1)}–${row.p90.toFixed(1)}`,
    row.gigabytesPerSecond.toFixed(1),
    row.gigaopsPerSecond > 0 ? row.gigaopsPerSecond.toFixed(1) : '',
    row.limit === '' ? '' : `${(100 * row.shareOfLimit).toFixed(0)} % ${row.limit}`,
  ])
  const head = ['model', 'isa', 'op', 'type', 'shape', 'tokens', 'µs', 'p10–p90', 'GB/s', 'GOP/s', 'of the limit']
  return table([head, ...cells], [5, 6, 7, 8, 9, 10])
}
