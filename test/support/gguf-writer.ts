/** Writes GGUF files for tests in one piece: correct ones by default, and wrong ones where a field is overridden. */
import { type GgufWriterValue, stringBytes, u32Bytes, u64Bytes } from '../../src/formats/gguf-writer.js'
import { tensorTypes, type TensorTypeName } from '../../src/tensor-types.js'

// Values as the real writer has them; their claims can be wrong, too.
export {
  ggufArray as array,
  ggufValue as value,
  type GgufScalarType as GgufWriterType,
  type GgufWriterValue,
  stringBytes,
  u32Bytes,
  u64Bytes,
} from '../../src/formats/gguf-writer.js'

/** `type` is a row of tensor-types.ts, or any id. Dimensions are in the file's order: the row length first. */
export interface GgufWriterTensor {
  readonly name: string
  readonly type?: TensorTypeName | number
  readonly dims: readonly (number | bigint)[]
  /** Default: as many zeros as type and dims ask for. */
  readonly data?: Uint8Array
  /** From the start of the data; default: after the tensor before, aligned. */
  readonly offset?: number | bigint
}

/** Pairs may repeat a key. */
export type GgufWriterMetadata = Readonly<Record<string, GgufWriterValue>> | readonly (readonly [string, GgufWriterValue])[]

export interface GgufWriterFile {
  readonly magic?: string
  readonly version?: number
  readonly metadata?: GgufWriterMetadata
  readonly tensors?: readonly GgufWriterTensor[]
  /** Of the data; it is not written to the metadata. Default 32. */
  readonly alignment?: number
  /** What the header claims, where it is not the truth. */
  readonly nTensors?: number | bigint
  readonly nEntries?: number | bigint
}

/** `borders` are the offsets at which a field of the header ends, the header's own end last, before padding. */
export interface WrittenGguf {
  readonly bytes: Buffer
  readonly borders: readonly number[]
  readonly dataStart: number
}

export function writeGguf(file: GgufWriterFile): WrittenGguf {
  const { alignment = 32, tensors = [], metadata = {} } = file
  const entries = Array.isArray(metadata) ? (metadata as [string, GgufWriterValue][]) : Object.entries(metadata)
  const fields: Uint8Array[] = [
    Buffer.from(file.magic ?? 'GGUF', 'latin1'),
    u32Bytes(file.version ?? 3),
    u64Bytes(file.nTensors ?? tensors.length),
    u64Bytes(file.nEntries ?? entries.length),
  ]
  for (const [key, { type, bytes }] of entries) fields.push(stringBytes(key), u32Bytes(type), bytes)

  const aligned = (offset: number): number => Math.ceil(offset / alignment) * alignment
  const data: { offset: number; bytes: Uint8Array }[] = []
  let next = 0
  for (const { name, type = 'f32', dims, data: given, offset = next } of tensors) {
    const id = typeof type === 'number' ? type : tensorTypes[type].ggufId
    if (id === null) throw new Error(`${type} has no id in GGUF`)
    fields.push(stringBytes(name), u32Bytes(dims.length), ...dims.map((dim) => u64Bytes(dim)), u32Bytes(id), u64Bytes(offset))
    const { blockValues, blockBytes } = tensorTypes[typeof type === 'number' ? 'f32' : type]
    const bytes =
      given ?? new Uint8Array((dims.reduce<number>((product, dim) => product * Number(dim), 1) / blockValues) * blockBytes)
    data.push({ offset: Number(offset), bytes })
    next = aligned(Number(offset) + bytes.length)
  }

  const borders: number[] = []
  for (const field of fields) borders.push((borders.at(-1) ?? 0) + field.length)
  const dataStart = aligned(borders.at(-1)!)
  const end = Math.max(0, ...data.map(({ offset, bytes }) => offset + bytes.length))
  const bytes = Buffer.alloc(tensors.length === 0 ? borders.at(-1)! : dataStart + end)
  Buffer.concat(fields).copy(bytes)
  for (const { offset, bytes: from } of data) bytes.set(from, dataStart + offset)
  return { bytes, borders, dataStart }
}
