/** A planned tensor's values as the encoders take them: places of files where nothing changes, else changed parts in memory. */
import type { GgufWriter } from '../formats/gguf-writer.js'
import { dequantizeTensor } from '../quantize/encode.js'
import { rowBytes, type TensorTypeName } from '../tensor-types.js'
import type { Change, Place, PlannedTensor } from './plan.js'
import { readPlace } from './read-place.js'

/** Whole rows, following each other. */
export interface Part {
  readonly source: Uint8Array | { readonly path: string; readonly offset: number }
  readonly from: TensorTypeName
  readonly values: number
}

/** Changed in memory at a time. */
const partBytes = 16 << 20

/** Changes work on the conversion's own thread, in parts of some 16 MB; a transposed matrix is read whole. */
export async function* changeValues(tensor: PlannedTensor, { signal }: { signal: AbortSignal }): AsyncGenerator<Part> {
  const { source, from, shape } = tensor
  if ('values' in source) {
    const { buffer, byteOffset, byteLength } = source.values
    yield { source: new Uint8Array(buffer, byteOffset, byteLength), from: 'f32', values: source.values.length }
    return
  }
  const count = shape.reduce((product, size) => product * size, 1) / source.places.length
  for (const place of source.places) {
    if (source.changes.length === 0) {
      yield { source: { path: place.path, offset: place.offset }, from, values: count }
      continue
    }
    // Rows of a part keep together what a change moves around.
    const rowLength = shape.length > 1 ? shape.at(-1)! : 1
    const nRows = count / rowLength
    const unit = unitRows(source.changes, nRows)
    const step = Math.max(1, Math.floor(partBytes / (rowBytes(from, rowLength) * unit))) * unit
    for (let row = 0; row < nRows; row += step) {
      const rows = Math.min(step, nRows - row)
      const values = rows * rowLength
      const at = { path: place.path, offset: place.offset + rowBytes(from, row * rowLength), bytes: rowBytes(from, values) }
      yield { ...(await changePart(tensor.name, at, source.changes, from, row, rows, rowLength, signal)), values }
    }
  }
}

function unitRows(changes: readonly Change[], nRows: number): number {
  if (changes.some(({ kind }) => kind === 'transpose')) return nRows
  const pairs = changes.find((change) => change.kind === 'pairRows')
  return pairs ? pairs.headDim : 1
}

async function changePart(
  name: string,
  { path, offset, bytes }: Place,
  changes: readonly Change[],
  type: TensorTypeName,
  firstRow: number,
  nRows: number,
  rowLength: number,
  signal: AbortSignal,
): Promise<Pick<Part, 'from'> & { source: Uint8Array }> {
  let source: Uint8Array = readPlace(path, offset, bytes)
  let from = type
  for (const change of changes) {
    const valueBytes = rowBytes(from, 1)
    if (change.kind === 'pairRows') source = pairRows(source, change.headDim, rowLength * valueBytes)
    else if (change.kind === 'transpose') source = transpose(source, nRows, rowLength, valueBytes)
    else {
      const values = await dequantizeTensor({ name, source, sourceType: from, nRows, rowLength, signal })
      const end = change.rows === undefined ? values.length : Math.max(0, change.rows - firstRow) * rowLength
      for (let i = 0; i < Math.min(end, values.length); i++) values[i] = values[i]! * change.scale + change.add
      source = new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
      from = 'f32'
    }
  }
  return { source, from }
}

/** In each head, rows i and i + n/2 become 2i and 2i + 1. */
export function pairRows(bytes: Uint8Array, headDim: number, rowBytes: number): Uint8Array {
  const changed = new Uint8Array(bytes.length)
  const nRows = bytes.length / rowBytes
  for (let row = 0; row < nRows; row++) {
    const inHead = row % headDim
    const from = row - inHead + (inHead >> 1) + (inHead % 2 === 1 ? headDim / 2 : 0)
    changed.set(bytes.subarray(from * rowBytes, (from + 1) * rowBytes), row * rowBytes)
  }
  return changed
}

/** From [rowLength, nRows] to [nRows, rowLength]. */
export function transpose(bytes: Uint8Array, nRows: number, rowLength: number, valueBytes: number): Uint8Array {
  const words = valueBytes === 4 ? Uint32Array : Uint16Array
  const from = new words(bytes.buffer as ArrayBuffer, bytes.byteOffset, nRows * rowLength)
  const to = new words(nRows * rowLength)
  for (let row = 0; row < nRows; row++) for (let i = 0; i < rowLength; i++) to[row * rowLength + i] = from[i * nRows + row]!
  return new Uint8Array(to.buffer)
}

/** Without a look at the values. */
export async function copyTensor(writer: GgufWriter, name: string, { path, offset }: { path: string; offset: number }, bytes: number) {
  for (let done = 0; done < bytes; done += partBytes) {
    const part = readPlace(path, offset + done, Math.min(partBytes, bytes - done))
    await writer.write(name, part, done)
  }
}
