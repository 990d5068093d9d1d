/** Writes GGUF files for tests: correct ones by default, and wrong ones where a field is overridden. */
import { tensorTypes, type TensorTypeName } from '../../src/tensor-types.js'

const ids = {
  u8: 0,
  i8: 1,
  u16: 2,
  i16: 3,
  u32: 4,
  i32: 5,
  f32: 6,
  bool: 7,
  string: 8,
  array: 9,
  u64: 10,
  i64: 11,
  f64: 12,
} as const
export type GgufWriterType = keyof typeof ids

/** A metadata value of a stated type. `bytes` are those after the type id. */
export interface GgufWriterValue {
  readonly type: number
  readonly bytes: Uint8Array
}

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

export const u32Bytes = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}
export const u64Bytes = (value: number | bigint): Buffer => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}
/** A string as GGUF has it; `length` is what it claims. */
export const stringBytes = (text: string, length: number | bigint = Buffer.byteLength(text)): Buffer =>
  Buffer.concat([u64Bytes(length), Buffer.from(text)])

const writers: Readonly<Record<Exclude<GgufWriterType, 'string' | 'array'>, (value: number | bigint | boolean) => Uint8Array>> =
  {
    u8: (value) => Uint8Array.of(Number(value)),
    i8: (value) => new Uint8Array(Int8Array.of(Number(value)).buffer),
    u16: (value) => new Uint8Array(Uint16Array.of(Number(value)).buffer),
    i16: (value) => new Uint8Array(Int16Array.of(Number(value)).buffer),
    u32: (value) => new Uint8Array(Uint32Array.of(Number(value)).buffer),
    i32: (value) => new Uint8Array(Int32Array.of(Number(value)).buffer),
    f32: (value) => new Uint8Array(Float32Array.of(Number(value)).buffer),
    bool: (value) => Uint8Array.of(Number(value)),
    u64: (value) => new Uint8Array(BigUint64Array.of(BigInt(value)).buffer),
    i64: (value) => new Uint8Array(BigInt64Array.of(BigInt(value)).buffer),
    f64: (value) => new Uint8Array(Float64Array.of(Number(value)).buffer),
  }

type Input = number | bigint | boolean | string

const bytesOf = (type: Exclude<GgufWriterType, 'array'>, value: Input): Uint8Array =>
  type === 'string' ? stringBytes(String(value)) : writers[type](value as number | bigint | boolean)

export const value = (type: Exclude<GgufWriterType, 'array'>, input: Input): GgufWriterValue => ({
  type: ids[type],
  bytes: bytesOf(type, input),
})

/** `count` is what the array claims to hold. */
export const array = (
  type: Exclude<GgufWriterType, 'array'>,
  inputs: readonly Input[],
  count: number | bigint = inputs.length,
): GgufWriterValue => ({
  type: ids.array,
  bytes: Buffer.concat([u32Bytes(ids[type]), u64Bytes(count), ...inputs.map((input) => bytesOf(type, input))]),
})

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
