/** Plans a GGUF file with other tensor types: metadata is copied as it is, names stay. */
import type { Checkpoint } from '../formats/checkpoint.js'
import { OpenFile } from '../formats/file.js'
import { readGgufHeader } from '../formats/gguf-header.js'
import type { GgufWriterValue } from '../formats/gguf-writer.js'
import type { ConversionPlan } from './plan.js'
import { readPlace } from './read-place.js'

/** Of the types of tensors, or of the division into files: no longer true, or written anew. */
const notCopied = (key: string): boolean =>
  key.startsWith('split.') || key === 'general.file_type' || key === 'general.quantization_version'

export async function planFromGguf(checkpoint: Checkpoint, signal?: AbortSignal): Promise<ConversionPlan> {
  const { path } = checkpoint.files[0]!
  const header = await OpenFile.use(path, signal, (file) => readGgufHeader(file, signal))
  const metadata = new Map<string, GgufWriterValue>()
  for (const [key, { place }] of header.metadata) {
    if (notCopied(key)) continue
    const bytes = readPlace(path, place.offset, place.bytes)
    metadata.set(key, { type: bytes.readUInt32LE(0), bytes: bytes.subarray(4) })
  }
  const tensors = [...checkpoint.tensors.values()].map(({ sourceName, type, shape, file, offset, bytes }) => ({
    name: sourceName,
    shape,
    from: type,
    source: { places: [{ path: checkpoint.files[file]!.path, offset, bytes }], changes: [] },
  }))
  return { metadata, alignment: header.alignment, tensors, remarks: [] }
}
