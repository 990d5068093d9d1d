/** Writes a planned GGUF file: chooses types, then takes each tensor through the native encoders to its place in the file. */
import { realpath, stat } from 'node:fs/promises'
import { InfernodeError } from '../errors.js'
import type { Checkpoint } from '../formats/checkpoint.js'
import { exists, quoteForPeople, throwIfAborted, unwritable } from '../formats/file.js'
import { ggufValue, GgufWriter } from '../formats/gguf-writer.js'
import { openCheckpoint } from '../formats/index.js'
import { quantizeTensor } from '../quantize/encode.js'
import { rowBytes, tensorTypes, type TensorTypeName } from '../tensor-types.js'
import { changeValues, copyTensor } from './change-values.js'
import { chooseTypes, fileTypes, type TargetType, type TypeChoice } from './choose-types.js'
import { planFromGguf } from './from-gguf.js'
import { planFromHuggingFace } from './from-huggingface.js'
import type { ConversionPlan, PlannedTensor } from './plan.js'

/** Plain data: it crosses to the conversion's thread. */
export interface ConversionOrder {
  readonly input: string
  readonly output: string
  /** Null: matrices stay as the input has them. */
  readonly type: TargetType | null
  readonly pure: boolean
  readonly keep: readonly (readonly [pattern: string, type: TargetType | null])[]
  /** 0: the runtime's own choice. */
  readonly threads: number
  readonly allowRequantize: boolean
  readonly overwrite: boolean
  /** Only Hugging Face folders. */
  readonly folderOnly: boolean
}

export interface ConversionProgress {
  /** The tensor that is being written. */
  readonly tensor: string
  readonly tensorsDone: number
  readonly nTensors: number
  /** Of all tensors. */
  readonly valuesDone: number
  readonly nValues: number
}

export interface TensorReport {
  /** As it is called in the file. */
  readonly name: string
  readonly shape: readonly number[]
  readonly from: TensorTypeName
  readonly to: TensorTypeName
  /** The type that was meant for it, where its rows are no whole number of that type's blocks. */
  readonly insteadOf?: TensorTypeName
  readonly bytes: number
  /** Root of the mean square of the values. */
  readonly rms: number
  /** Root of the mean squared difference between what is stored and the values. */
  readonly rmse: number
  /** The block of the new type with the largest error: its index in row-major order, and its own rmse. */
  readonly worstBlock: { readonly index: number; readonly rmse: number }
}

export interface ConversionReport {
  readonly path: string
  /** Of the tensors' values before and after, and of the whole file. */
  readonly bytesBefore: number
  readonly bytesAfter: number
  readonly fileBytes: number
  readonly tensors: readonly TensorReport[]
  /** What the file cannot say as the input did. */
  readonly remarks: readonly string[]
  readonly seconds: number
}

/** The output does not exist, or is as before, unless this resolves. */
export async function runConversion(
  order: ConversionOrder,
  onProgress: (progress: ConversionProgress) => void,
  signal: AbortSignal,
): Promise<ConversionReport> {
  const start = performance.now()
  const checkpoint = await openCheckpoint(order.input, { signal })
  if (order.folderOnly && checkpoint.format !== 'safetensors')
    throw new InfernodeError('INVALID_ARGUMENT', 'input', 'a Hugging Face folder', `a GGUF file, which quantize takes`)
  await checkOutput(order, checkpoint)
  const plan = checkpoint.format === 'gguf' ? await planFromGguf(checkpoint, signal) : await planFromHuggingFace(checkpoint)
  const choices = chooseTypes(plan.tensors, order)
  if (!order.allowRequantize) refuseRequantizing(checkpoint, plan, choices)
  throwIfAborted(signal)

  const writer = await GgufWriter.create(order.output, {
    metadata: new Map([...plan.metadata, ...typeMetadata(order, choices)]),
    tensors: plan.tensors.map(({ name, shape }, i) => ({ name, shape, type: choices[i]!.type })),
    alignment: plan.alignment,
  })
  try {
    const tensors = await writeTensors(writer, plan, choices, order.threads, onProgress, signal)
    throwIfAborted(signal)
    await writer.finish()
    const bytesBefore = plan.tensors.reduce((sum, { from, shape }) => sum + rowBytes(from, countOf(shape)), 0)
    const bytesAfter = tensors.reduce((sum, { bytes }) => sum + bytes, 0)
    const seconds = (performance.now() - start) / 1000
    return { path: order.output, bytesBefore, bytesAfter, fileBytes: writer.bytes, tensors, remarks: plan.remarks, seconds }
  } catch (error) {
    await writer.abort()
    throw error
  }
}

const countOf = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1)

/** Before any work: that the output may be written at all, and is none of the files that are read. */
async function checkOutput({ output, overwrite }: ConversionOrder, checkpoint: Checkpoint): Promise<void> {
  const attempt = <T>(work: Promise<T>): Promise<T> => work.catch((error: unknown) => Promise.reject(unwritable(output, error)))
  if (!(await attempt(exists(output)))) return
  const found = await attempt(stat(output))
  const real = await attempt(realpath(output))
  for (const path of [...checkpoint.files.map(({ path }) => path), checkpoint.config.path, checkpoint.tokenizer?.path])
    if (path !== undefined && (await realpath(path)) === real)
      throw new InfernodeError('INVALID_ARGUMENT', 'output', 'another file than the input', quoteForPeople(output))
  if (!found.isFile())
    throw new InfernodeError('FILE_UNWRITABLE', quoteForPeople(output), found.isDirectory() ? 'it is a folder' : 'it is not a regular file')
  if (!overwrite) throw new InfernodeError('FILE_EXISTS', quoteForPeople(output))
}

function refuseRequantizing(checkpoint: Checkpoint, plan: ConversionPlan, choices: readonly TypeChoice[]): void {
  const at = plan.tensors.findIndex(({ from }, i) => tensorTypes[from].blockValues > 1 && from !== choices[i]!.type)
  if (at >= 0) {
    const { name, from } = plan.tensors[at]!
    throw new InfernodeError('ALREADY_QUANTIZED', quoteForPeople(checkpoint.path), quoteForPeople(name), from)
  }
}

function typeMetadata({ type }: ConversionOrder, choices: readonly TypeChoice[]) {
  // A file without one type in mind is called after the type that most of its matrices have.
  const counts = new Map<TensorTypeName, number>()
  for (const { type } of choices) if (type in fileTypes) counts.set(type, (counts.get(type) ?? 0) + 1)
  const matrices = [...counts].filter(([type]) => type !== 'f32' || counts.size === 1)
  const most = matrices.sort((a, b) => b[1] - a[1])[0]?.[0] ?? 'f32'
  const blocks = choices.some(({ type }) => tensorTypes[type].blockValues > 1)
  return new Map([
    ['general.file_type', ggufValue('u32', fileTypes[type ?? (most as TargetType)])],
    ...(blocks ? [['general.quantization_version', ggufValue('u32', 2)] as const] : []),
  ])
}

async function writeTensors(
  writer: GgufWriter,
  plan: ConversionPlan,
  choices: readonly TypeChoice[],
  threads: number,
  onProgress: (progress: ConversionProgress) => void,
  signal: AbortSignal,
): Promise<TensorReport[]> {
  const nValues = plan.tensors.reduce((sum, { shape }) => sum + countOf(shape), 0)
  const reports: TensorReport[] = []
  let valuesDone = 0
  for (const [i, tensor] of plan.tensors.entries()) {
    throwIfAborted(signal)
    const tell = (done: number): void =>
      onProgress({ tensor: tensor.name, tensorsDone: i, nTensors: plan.tensors.length, valuesDone: valuesDone + done, nValues })
    tell(0)
    const { type, insteadOf } = choices[i]!
    const errors = await writeTensor(writer, tensor, type, { threads, signal, onProgress: tell })
    valuesDone += countOf(tensor.shape)
    const { name, shape, from } = tensor
    const bytes = rowBytes(type, countOf(shape))
    reports.push({ name, shape, from, to: type, ...(insteadOf ? { insteadOf } : {}), bytes, ...errors })
  }
  onProgress({ tensor: '', tensorsDone: plan.tensors.length, nTensors: plan.tensors.length, valuesDone: nValues, nValues })
  return reports
}

type Errors = Pick<TensorReport, 'rms' | 'rmse' | 'worstBlock'>
interface Work {
  readonly threads: number
  readonly signal: AbortSignal
  onProgress(valuesDone: number): void
}

/** Part by part, as the source gives them; whole tensors where values need no change. */
async function writeTensor(writer: GgufWriter, tensor: PlannedTensor, to: TensorTypeName, work: Work): Promise<Errors> {
  const { name } = tensor
  const rowLength = tensor.shape.at(-1)!
  const place = writer.offsetOf(name)
  const total = { squares: 0, squaredErrors: 0, values: 0, worstBlock: { index: 0, rmse: 0 } }
  for await (const { source, from, values } of changeValues(tensor, work)) {
    const base = total.values
    const nRows = values / rowLength
    const target = { path: writer.partialPath, offset: place + rowBytes(to, base) }
    const { threads, signal } = work
    const onProgress = (done: number): void => work.onProgress(base + done)
    if (tensorTypes[from].activations === null) {
      // Indices are no values that encoders know.
      await copyTensor(writer, name, source as { path: string; offset: number }, rowBytes(from, values))
    } else {
      const job = { name, source, sourceType: from, targetType: to, nRows, rowLength, target, threads, signal, onProgress }
      const done = await quantizeTensor(job)
      total.squares += done.rms ** 2 * values
      total.squaredErrors += done.rmse ** 2 * values
      if (done.worstBlock.rmse > total.worstBlock.rmse) {
        const index = base / tensorTypes[to].blockValues + done.worstBlock.index
        total.worstBlock = { index, rmse: done.worstBlock.rmse }
      }
    }
    total.values += values
  }
  const n = Math.max(total.values, 1)
  return { rms: Math.sqrt(total.squares / n), rmse: Math.sqrt(total.squaredErrors / n), worstBlock: total.worstBlock }
}
