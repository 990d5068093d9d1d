/** One tensor from one type to another: on native threads, from memory or a file, to memory or into a file. */
import { InfernodeError } from '../errors.js'
import { callNative, native, type NativeQuantizeRequest, type NativeQuantizeResult } from '../native.js'
import { aborted, invalid } from '../options.js'
import { rowBytes, type TensorTypeName, tensorTypes } from '../tensor-types.js'

/** A range of a file that begins at `offset` bytes; its length follows from type and shape. */
export interface FilePlace {
  readonly path: string
  readonly offset: number
}

export interface TensorJob {
  /** Named in errors. */
  name: string
  source: Uint8Array | FilePlace
  sourceType: TensorTypeName
  /** One of encodableTypes(). */
  targetType: TensorTypeName
  nRows: number
  /** Values in a row: a whole number of blocks of both types. */
  rowLength: number
  /** A file that exists, written from `offset` on; without it the result carries the bytes. */
  target?: FilePlace
  /** Default: the runtime's own choice. The bytes do not depend on it. */
  threads?: number
  /** The promise rejects with ABORTED, and only once nothing is written any longer. */
  signal?: AbortSignal
  /** Called some ten times a second with the number of values done so far. */
  onProgress?: (valuesDone: number) => void
}

/** The tensor's encoded bytes (empty where they went into a file) and how far they are from the source. */
export type QuantizedTensor = NativeQuantizeResult

/** Buffers are copied into native memory on the JavaScript thread: this much takes about a millisecond. */
const MAX_COPIED_BYTES = 8 << 20
const PROGRESS_INTERVAL_MS = 100

/** Tensor types that can be written, in the order of the table. */
export function encodableTypes(): TensorTypeName[] {
  return native().encodableTypes()
}

/**
 * Encodes nRows × rowLength values in another type. Never holds more than a small piece of a file in memory.
 *
 * Throws INVALID_ARGUMENT for types and counts that do not fit, WEIGHT_UNENCODABLE for a NaN, an infinity (where the target is a
 * block type) or a number too large for the target, FILE_UNREADABLE, FILE_CORRUPT, FILE_UNWRITABLE, OUT_OF_MEMORY, ABORTED.
 */
export async function quantizeTensor(job: TensorJob): Promise<QuantizedTensor> {
  const { name, source, sourceType, targetType, nRows, rowLength, target, threads = 0, signal, onProgress } = job
  for (const [option, type] of Object.entries({ sourceType, targetType }))
    if (!Object.hasOwn(tensorTypes, type)) throw invalid(option, 'the name of a tensor type', type)
  const request = { name, sourceType, targetType, rowLength, threads }
  if (!(source instanceof Uint8Array))
    return run({ ...request, source, nRows, firstRow: 0, target: target ?? null }, signal, onProgress)

  const bytes = nRows * rowBytes(sourceType, rowLength)
  if (source.byteLength !== bytes) throw invalid('source', `${bytes} bytes`, source)
  const targetRowBytes = rowBytes(targetType, rowLength)
  const rowsAtOnce = Math.max(1, Math.floor(MAX_COPIED_BYTES / rowBytes(sourceType, Math.max(rowLength, 1))))
  const whole = new Uint8Array(target ? 0 : nRows * targetRowBytes)
  const parts: { nRows: number; result: QuantizedTensor }[] = []
  let firstRow = 0
  do {
    const n = Math.min(rowsAtOnce, nRows - firstRow)
    const from = rowBytes(sourceType, firstRow * rowLength)
    const result = await run(
      {
        ...request,
        source: source.subarray(from, from + rowBytes(sourceType, n * rowLength)),
        nRows: n,
        firstRow,
        target: target ? { path: target.path, offset: target.offset + firstRow * targetRowBytes } : null,
      },
      signal,
      onProgress && ((done) => onProgress(firstRow * rowLength + done)),
    )
    whole.set(result.bytes, firstRow * targetRowBytes)
    parts.push({ nRows: n, result })
    firstRow += n
  } while (firstRow < nRows)
  return { ...joined(parts, rowLength / tensorTypes[targetType].blockValues), bytes: whole }
}

/** The f32 values of a tensor of any type. Throws as quantizeTensor does. */
export async function dequantizeTensor(job: Omit<TensorJob, 'targetType' | 'target'>): Promise<Float32Array> {
  const { bytes } = await quantizeTensor({ ...job, targetType: 'f32' })
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)
}

async function run(
  request: NativeQuantizeRequest,
  signal: AbortSignal | undefined,
  onProgress: ((valuesDone: number) => void) | undefined,
): Promise<QuantizedTensor> {
  const what = `Quantizing tensor "${request.name}"`
  if (signal?.aborted) throw aborted(what, signal)
  const job = await callNative(() => native().quantizeTensor(request))
  const onAbort = () => job.cancel()
  signal?.addEventListener('abort', onAbort, { once: true })
  const timer = onProgress && setInterval(() => onProgress(job.valuesDone()), PROGRESS_INTERVAL_MS)
  try {
    return await callNative(() => job.result)
  } catch (cause) {
    throw cause instanceof InfernodeError && cause.code === 'ABORTED' ? aborted(what, signal) : cause
  } finally {
    clearInterval(timer)
    signal?.removeEventListener('abort', onAbort)
  }
}

/** Statistics of consecutive parts, as of one tensor. */
function joined(parts: { nRows: number; result: QuantizedTensor }[], blocksPerRow: number): Omit<QuantizedTensor, 'bytes'> {
  if (parts.length === 1) return parts[0]!.result
  const nRows = parts.reduce((sum, part) => sum + part.nRows, 0)
  const rootMean = (of: (result: QuantizedTensor) => number) =>
    Math.sqrt(parts.reduce((sum, part) => sum + part.nRows * of(part.result) ** 2, 0) / nRows)
  let worstBlock = { index: 0, rmse: 0 }
  let firstBlock = 0
  for (const { nRows, result } of parts) {
    if (result.worstBlock.rmse > worstBlock.rmse)
      worstBlock = { index: firstBlock + result.worstBlock.index, rmse: result.worstBlock.rmse }
    firstBlock += nRows * blocksPerRow
  }
  return {
    rms: rootMean((result) => result.rms),
    rmse: rootMean((result) => result.rmse),
    maxError: Math.max(...parts.map((part) => part.result.maxError)),
    worstBlock,
  }
}
