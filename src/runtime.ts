/** What this installation and this machine offer: version, ISA variants, threads and the reasons for them, measured peaks. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { callNative, native, packageRoot, type RuntimeInfo } from './native.js'
import { checkOptions, integer, nonEmptyString, type Rules } from './options.js'
import { type TensorTypeName, tensorTypes } from './tensor-types.js'

export interface RuntimeOptions {
  /** Default: as many as are useful here. */
  threads?: number
  /** Default: INFERNODE_ISA, or the best that this CPU runs. */
  isa?: string
}

export interface Runtime extends RuntimeInfo {
  readonly backend: 'cpu'
  /** Version of the package. */
  readonly packageVersion: string
  /** Tensor types of weights, by how they are multiplied. */
  readonly tensorTypes: {
    /** In integer arithmetic. */
    readonly integer: readonly TensorTypeName[]
    /** As they are. */
    readonly float: readonly TensorTypeName[]
    /** Decoded to f32 as they are read: slower. */
    readonly decoded: readonly TensorTypeName[]
  }
}

export interface MeasureOptions extends RuntimeOptions {
  /** How long to measure in all. Default 500. */
  milliseconds?: number
  /**
   * Path of a file whose mapped bytes are read instead of fresh memory: a checkpoint's, so that a model is compared with plain reading
   * of the same bytes. Some machines read one part of their memory twice as fast as another.
   */
  file?: string
}

/** This machine's limits, in practice. */
export interface MachinePeaks {
  /** Plain reading of memory that no cache holds. */
  readonly readBytesPerSecond: number
  /** Multiply-adds of int8 in registers. */
  readonly int8MacsPerSecond: number
  /** Multiply-adds of bf16 weights in registers: in pairs where the CPU has instructions for them, else as f32. */
  readonly bf16MacsPerSecond: number
  /** Multiply-adds of f32 in registers. */
  readonly f32MacsPerSecond: number
}

/** The variant that was asked for, by option or by INFERNODE_ISA; empty: the best that this CPU runs. */
export function askedIsa(option: string | undefined): string {
  return option ?? process.env.INFERNODE_ISA ?? ''
}

const runtimeRules: Rules<RuntimeOptions> = { threads: integer(1, 1024), isa: nonEmptyString }
const measureRules: Rules<MeasureOptions> = { ...runtimeRules, milliseconds: integer(10, 60_000), file: nonEmptyString }

/**
 * What a model loaded with these options would run on.
 * @throws NATIVE_UNAVAILABLE, ISA_UNKNOWN, ISA_UNSUPPORTED
 */
export async function runtime(options?: RuntimeOptions): Promise<Runtime> {
  const given = checkOptions(options, runtimeRules)
  const info = await callNative(() => native().info({ threads: given.threads ?? 0, isa: askedIsa(given.isa) }))
  const { version } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as { version: string }
  return { ...info, backend: 'cpu', packageVersion: version, tensorTypes: weightTypes() }
}

function weightTypes(): Runtime['tensorTypes'] {
  const names = (Object.keys(tensorTypes) as TensorTypeName[]).filter((name) => tensorTypes[name].activations !== null)
  const exact = names.filter((name) => tensorTypes[name].activations === 'f32')
  return {
    integer: names.filter((name) => !exact.includes(name)),
    float: exact.filter((name) => tensorTypes[name].blockValues === 1),
    decoded: exact.filter((name) => tensorTypes[name].blockValues > 1),
  }
}

/**
 * Measures this machine, so that a speed can be given as a share of what is possible.
 * @throws FILE_UNREADABLE, ISA_UNKNOWN, ISA_UNSUPPORTED, NATIVE_UNAVAILABLE, OUT_OF_MEMORY
 */
export async function measureMachine(options?: MeasureOptions): Promise<MachinePeaks> {
  const { threads = 0, isa, milliseconds = 500, file = '' } = checkOptions(options, measureRules)
  return callNative(() => native().measure({ threads, isa: askedIsa(isa), milliseconds, file }))
}
