/** Reads the header of one safetensors file: a length, JSON that lists the tensors, then their bytes. */
import { InfernodeError } from '../errors.js'
import { tensorTypes, type TensorTypeName } from '../tensor-types.js'
import type { CheckpointFile } from './checkpoint.js'
import { OpenFile, quoteForPeople, Turn } from './file.js'
import { isJsonObject, parseJson, type Json } from './json.js'

/** Bound of the reference implementation. */
const maxHeaderBytes = 100_000_000
const maxDimensions = 8

const typeOfName = new Map<string, TensorTypeName>(
  (Object.keys(tensorTypes) as TensorTypeName[]).flatMap((type) => {
    const name = tensorTypes[type].safetensorsName
    return name === null ? [] : [[name, type] as const]
  }),
)

/**
 * Buffers that PyTorch stores beside weights (positions, causal masks, counters): never weights of a model that is not
 * quantized, so they are checked and left out. Bytes per value.
 */
const skippedTypes: Readonly<Record<string, number>> = { I64: 8, BOOL: 1 }

export interface SafetensorsTensor {
  readonly name: string
  readonly type: TensorTypeName
  /** Row-major; [] for a single value. */
  readonly shape: readonly number[]
  /** Bytes from the start of the file; a multiple of the type's size in all but very old files. */
  readonly offset: number
  readonly bytes: number
}

export interface SafetensorsHeader {
  readonly file: CheckpointFile
  readonly tensors: readonly SafetensorsTensor[]
  /** Names of the buffers that were left out. */
  readonly skipped: readonly string[]
}

/** Throws FILE_CORRUPT, FORMAT_UNSUPPORTED (both name the tensor), FILE_UNREADABLE, FILE_CHANGED or ABORTED. */
export async function readSafetensorsHeader(path: string, signal?: AbortSignal): Promise<SafetensorsHeader> {
  return OpenFile.use(path, signal, async (file) => {
    const header = await readHeader(file)
    const json = await parseJson(header, path, 'header', signal)
    if (!isJsonObject(json)) throw corrupt(path, 'header', 'not a JSON object')
    const dataStart = 8 + header.length
    const turn = new Turn(signal)
    const tensors: SafetensorsTensor[] = []
    const skipped: string[] = []
    const ranges: Range[] = []
    for (const [name, entry] of Object.entries(json)) {
      if (turn.over()) await turn.next()
      if (name === '__metadata__') continue
      const { type, shape, start, end } = checkEntry(path, name, entry, file.bytes - dataStart)
      ranges.push({ name, start, end })
      if (type === null) skipped.push(name)
      else tensors.push({ name, type, shape, offset: dataStart + start, bytes: end - start })
    }
    checkOverlap(path, ranges)
    return { file: { path, bytes: file.bytes, mtimeMs: file.mtimeMs }, tensors, skipped }
  })
}

interface Range {
  readonly name: string
  /** Bytes from the start of the data. */
  readonly start: number
  readonly end: number
}

async function readHeader(file: OpenFile): Promise<Buffer> {
  const { path, bytes } = file
  if (bytes === 0) throw corrupt(path, 'header', 'the file is empty')
  if (bytes < 8) throw corrupt(path, 'header length', `${8 - bytes} bytes are missing, the file has ${bytes}`)
  const start = Buffer.alloc(8)
  await file.read(start, 0)
  const length = start.readBigUInt64LE()
  if (length > maxHeaderBytes)
    throw corrupt(path, 'header length', `${length} bytes, more than the ${maxHeaderBytes} that the format allows`)
  if (length > bytes - 8)
    throw corrupt(path, 'header', `${Number(length) - (bytes - 8)} bytes are missing, the file has ${bytes}`)
  const header = Buffer.allocUnsafe(Number(length))
  await file.read(header, 8)
  return header
}

/** `type` is null for a buffer that is left out. */
function checkEntry(
  path: string,
  name: string,
  entry: Json,
  dataBytes: number,
): Omit<Range, 'name'> & { type: TensorTypeName | null; shape: number[] } {
  const field = `tensor "${quoteForPeople(name)}"`
  if (!isJsonObject(entry)) throw corrupt(path, field, 'not an object')
  const { dtype, shape, data_offsets: offsets } = entry
  if (typeof dtype !== 'string') throw corrupt(path, field, 'dtype is not a string')
  if (!isCounts(shape) || shape.length > maxDimensions)
    throw corrupt(path, field, `shape is not a list of up to ${maxDimensions} sizes`)
  if (!isCounts(offsets) || offsets.length !== 2) throw corrupt(path, field, 'data_offsets is not a pair of offsets')
  const [start, end] = offsets as [number, number]
  if (start > end) throw corrupt(path, field, `it ends at ${end}, before its start at ${start}`)
  if (end > dataBytes) throw corrupt(path, field, `${end - dataBytes} bytes are missing, the file's data has ${dataBytes}`)
  const type = typeOfName.get(dtype) ?? null
  const valueBytes = type ? tensorTypes[type].blockBytes : Object.hasOwn(skippedTypes, dtype) ? skippedTypes[dtype] : undefined
  if (valueBytes === undefined)
    throw new InfernodeError('FORMAT_UNSUPPORTED', quoteForPeople(path), field, `the type ${quoteForPeople(dtype)} is not read`)
  const bytes = shape.reduce((product, size) => product * BigInt(size), BigInt(valueBytes))
  if (bytes !== BigInt(end - start))
    throw corrupt(path, field, `${dtype} [${shape.join(', ')}] takes ${bytes} bytes, data_offsets give it ${end - start}`)
  return { type, shape, start, end }
}

function checkOverlap(path: string, ranges: Range[]): void {
  ranges.sort((a, b) => a.start - b.start || a.end - b.end)
  for (let i = 1; i < ranges.length; i++) {
    const [before, range] = [ranges[i - 1]!, ranges[i]!]
    if (range.start < before.end)
      throw corrupt(
        path,
        `tensor "${quoteForPeople(range.name)}"`,
        `its bytes overlap those of "${quoteForPeople(before.name)}"`,
      )
  }
}

const isCounts = (value: Json | undefined): value is number[] =>
  Array.isArray(value) && value.every((item) => typeof item === 'number' && Number.isSafeInteger(item) && item >= 0)

const corrupt = (path: string, field: string, reason: string): InfernodeError =>
  new InfernodeError('FILE_CORRUPT', quoteForPeople(path), field, reason)
