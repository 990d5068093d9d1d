/** quantize() and convert(): checkpoints written as GGUF files, on a thread of their own. */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { TargetType } from './convert/choose-types.js'
import type { ConversionOrder, ConversionProgress, ConversionReport } from './convert/run.js'
import type { ConversionNews } from './convert/worker.js'
import { InfernodeError } from './errors.js'
import { packageRoot } from './native.js'
import { encodableTypes } from './quantize/encode.js'
import { aborted, abortSignal, boolean, callback, checkOptions, integer, invalid, type Rule, type Rules } from './options.js'

export type { TargetType } from './convert/choose-types.js'
export type { ConversionProgress, ConversionReport, TensorReport } from './convert/run.js'

/** What both calls take. */
export interface WriteOptions {
  /**
   * Types of certain tensors: name patterns to types, or to null for the type that they have. Names are GGUF's
   * (`blk.0.ffn_down.weight`); `*` stands for any characters, `.weight` at the end may be left out. Of several patterns that match,
   * the last counts. Vectors are always f32.
   */
  keep?: Readonly<Record<string, TargetType | null>>
  /** Threads that encode. Default: as many as are useful here. */
  threads?: number
  /** Replace an output that exists. Default false. */
  overwrite?: boolean
  /** Gives up with ABORTED; the output is as it was before. */
  signal?: AbortSignal
  /** Told some times a second. */
  onProgress?: (progress: ConversionProgress) => void
}

export interface QuantizeOptions extends WriteOptions {
  /** What matrices become, but for those that the mixture of docs/formats.md makes larger. */
  type: TargetType
  /** The same type for every matrix: no mixture. Default false. */
  pure?: boolean
  /** Take tensors that are quantized already: errors add up. Default false. */
  allowRequantize?: boolean
}

export interface ConvertOptions extends WriteOptions {
  /** What matrices become. Default: each stays in the type that the folder has, without any loss. */
  type?: TargetType
  /** The same type for every matrix: no mixture. Default false. */
  pure?: boolean
}

/** What the `type` of `quantize` and `convert` may be. */
export const targetTypes = (): TargetType[] => encodableTypes() as TargetType[]

const targetType: Rule = {
  get expected() {
    return `one of ${targetTypes().join(', ')}`
  },
  accepts: (value) => targetTypes().includes(value as TargetType),
}
const keepRule: Rule = {
  get expected() {
    return `an object of name patterns and types (or null), such as { "output": "f16" }; a type is ${targetType.expected}`
  },
  accepts: (value) =>
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    Object.entries(value).every(([pattern, type]) => pattern !== '' && (type === null || targetType.accepts(type))),
}
const writeRules: Rules<WriteOptions> = {
  keep: keepRule,
  threads: integer(1, 1024),
  overwrite: boolean,
  signal: abortSignal,
  onProgress: callback,
}
const quantizeRules: Rules<QuantizeOptions> = { ...writeRules, type: targetType, pure: boolean, allowRequantize: boolean }
const convertRules: Rules<ConvertOptions> = { ...writeRules, type: targetType, pure: boolean }

/**
 * Writes a GGUF file with matrices of `type`, from a GGUF file or a Hugging Face folder in f32, f16 or bf16. Vectors stay f32.
 * The file appears under its name when it is complete and on the disk; until then it is `<output>.partial`, which goes away when
 * something fails. All work is done on other threads. Resolves to a report with the errors of every tensor.
 * @throws INVALID_ARGUMENT, UNKNOWN_OPTION; FILE_EXISTS without `overwrite`; ALREADY_QUANTIZED without `allowRequantize`;
 * WEIGHT_UNENCODABLE for a value that the type cannot hold; FILE_UNWRITABLE; ABORTED; and what opening a checkpoint throws
 */
export async function quantize(input: string, output: string, options: QuantizeOptions): Promise<ConversionReport> {
  const given = checkOptions(options, quantizeRules)
  if (given.type === undefined) throw invalid('type', targetType.expected, undefined)
  return run(input, output, given, { type: given.type, folderOnly: false, allowRequantize: given.allowRequantize ?? false })
}

/**
 * Writes a Hugging Face folder as one GGUF file: tensors under GGUF's names and conventions, config, tokenizer, chat template and
 * sampling defaults. For the families that docs/formats.md lists.
 * @throws as `quantize` does; FORMAT_UNSUPPORTED for a family or a setting, TOKENIZER_UNSUPPORTED for a tokenizer, that GGUF has
 * no form for
 */
export async function convert(folder: string, output: string, options?: ConvertOptions): Promise<ConversionReport> {
  const given = checkOptions(options, convertRules)
  return run(folder, output, given, { type: given.type ?? null, folderOnly: true, allowRequantize: false })
}

async function run(
  input: string,
  output: string,
  given: Partial<QuantizeOptions>,
  purpose: Pick<ConversionOrder, 'type' | 'folderOnly' | 'allowRequantize'>,
): Promise<ConversionReport> {
  for (const [name, path] of Object.entries({ input, output }))
    if (typeof path !== 'string' || path === '' || path.includes('\0')) throw invalid(name, 'the path of a file', path)
  const { keep = {}, threads = 0, overwrite = false, pure = false, signal, onProgress } = given
  if (signal?.aborted) throw aborted('Converting the checkpoint', signal)
  const order: ConversionOrder = { ...purpose, input, output, keep: Object.entries(keep), threads, overwrite, pure }
  const news = await follow(order, signal, onProgress)
  if ('report' in news) return news.report
  const { code, details } = news.error
  if (code === 'ABORTED') throw aborted('Converting the checkpoint', signal)
  throw new InfernodeError(code, ...(details as never))
}

type End = Exclude<ConversionNews, { progress: ConversionProgress }>

function follow(order: ConversionOrder, signal: AbortSignal | undefined, onProgress: QuantizeOptions['onProgress']): Promise<End> {
  // It lies beside this file in the package; tests that run the sources use the built one.
  const worker = new Worker(join(packageRoot, 'dist', 'convert', 'worker.js'), { workerData: order, execArgv: [] })
  const stop = (): void => worker.postMessage('abort')
  // A process that ends in the middle takes its half of a file along.
  const tidy = (): void => rmSync(`${order.output}.partial`, { force: true })
  return new Promise<End>((resolve, reject) => {
    let thrown: { error: unknown } | undefined
    worker.on('message', (news: ConversionNews) => {
      if (!('progress' in news)) return thrown ? reject(thrown.error) : resolve(news)
      try {
        if (!thrown) onProgress?.(news.progress)
      } catch (error) {
        // The caller's own error comes out when the conversion has tidied up.
        thrown = { error }
        stop()
      }
    })
    worker.on('error', reject)
    worker.on('exit', () => reject(new InfernodeError('INTERNAL', 'the thread of a conversion ended')))
    signal?.addEventListener('abort', stop)
    process.on('exit', tidy)
  }).finally(() => {
    signal?.removeEventListener('abort', stop)
    process.off('exit', tidy)
  })
}
