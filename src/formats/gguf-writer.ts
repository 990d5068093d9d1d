/** Writes GGUF files of any size: the header first, then tensors at places known from the start; all of it or nothing. */
import { open, rename, rm, stat, type FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import { InfernodeError } from '../errors.js'
import { rowBytes, tensorTypes, type TensorTypeName } from '../tensor-types.js'
import { unwritable } from './file.js'
import { ggufTypeId, type GgufTypeName } from './gguf-header.js'

/** A metadata value as it stands in a file: its type's id and what follows that. */
export interface GgufWriterValue {
  readonly type: number
  readonly bytes: Uint8Array
}

export interface GgufWriterTensor {
  readonly name: string
  readonly type: TensorTypeName
  /** Row-major; rows are whole blocks of the type. */
  readonly shape: readonly number[]
}

export interface GgufWriterContent {
  readonly metadata: ReadonlyMap<string, GgufWriterValue>
  /** In the order in which they lie in the file. */
  readonly tensors: readonly GgufWriterTensor[]
  /** Of every tensor; metadata says the same, or nothing for the default of 32. */
  readonly alignment?: number
}

type Scalar = number | bigint | boolean
export type GgufScalarType = Exclude<GgufTypeName, 'array'>
type FixedType = Exclude<GgufScalarType, 'string'>

/** Values that do not fit their type wrap around, as in typed arrays: callers know what they write. */
const arrayOf: Readonly<Record<FixedType, (values: readonly Scalar[]) => ArrayBufferView>> = {
  u8: (values) => Uint8Array.from(values, Number),
  i8: (values) => Int8Array.from(values, Number),
  u16: (values) => Uint16Array.from(values, Number),
  i16: (values) => Int16Array.from(values, Number),
  u32: (values) => Uint32Array.from(values, Number),
  i32: (values) => Int32Array.from(values, Number),
  f32: (values) => Float32Array.from(values, Number),
  bool: (values) => Uint8Array.from(values, Number),
  u64: (values) => BigUint64Array.from(values, BigInt),
  i64: (values) => BigInt64Array.from(values, BigInt),
  f64: (values) => Float64Array.from(values, Number),
}

export const u32Bytes = (value: number): Buffer => bytesOf('u32', [value])
export const u64Bytes = (value: number | bigint): Buffer => bytesOf('u64', [value])

/** A string as GGUF has it; `length` is what it claims. */
export const stringBytes = (text: string, length: number | bigint = Buffer.byteLength(text)): Buffer =>
  Buffer.concat([u64Bytes(length), Buffer.from(text)])

function bytesOf(type: GgufScalarType, values: readonly (Scalar | string)[]): Buffer {
  if (type === 'string') return stringsBytes(values as readonly string[])
  const { buffer, byteOffset, byteLength } = arrayOf[type](values as readonly Scalar[])
  return Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength)
}

/** In one buffer: a vocabulary has hundreds of thousands. */
function stringsBytes(texts: readonly string[]): Buffer {
  const bytes = Buffer.allocUnsafe(texts.reduce((sum, text) => sum + 8 + Buffer.byteLength(text), 0))
  let at = 0
  for (const text of texts) {
    const length = bytes.write(text, at + 8)
    bytes.writeBigUInt64LE(BigInt(length), at)
    at += 8 + length
  }
  return bytes
}

export const ggufValue = (type: GgufScalarType, value: Scalar | string): GgufWriterValue => ({
  type: ggufTypeId(type),
  bytes: bytesOf(type, [value]),
})

/** `count` is what the array claims to hold. */
export const ggufArray = (
  type: GgufScalarType,
  values: readonly (Scalar | string)[],
  count: number | bigint = values.length,
): GgufWriterValue => ({
  type: ggufTypeId('array'),
  bytes: Buffer.concat([u32Bytes(ggufTypeId(type)), u64Bytes(count), bytesOf(type, values)]),
})

const defaultAlignment = 32

/**
 * A GGUF file (version 3) that is being written beside its target, under the target's name with `.partial` behind it. Tensors
 * may be written in any order and in parts, by anybody who knows `partialPath` and `offsetOf`; what nobody writes is zero.
 * `finish` puts the file in place of the target in one step, `abort` removes it. A process that is killed leaves the partial file;
 * the next one that writes the same target begins anew.
 */
export class GgufWriter {
  private constructor(
    readonly path: string,
    readonly partialPath: string,
    /** Bytes of the whole file. */
    readonly bytes: number,
    private readonly handle: FileHandle,
    private readonly offsets: ReadonlyMap<string, number>,
  ) {}

  /** Writes the header. Throws FILE_UNWRITABLE, and leaves nothing behind then. */
  static async create(path: string, { metadata, tensors, alignment = defaultAlignment }: GgufWriterContent): Promise<GgufWriter> {
    const aligned = (offset: number): number => Math.ceil(offset / alignment) * alignment
    const fields: Uint8Array[] = [Buffer.from('GGUF'), u32Bytes(3), u64Bytes(tensors.length), u64Bytes(metadata.size)]
    for (const [key, { type, bytes }] of metadata) fields.push(stringBytes(key), u32Bytes(type), bytes)
    const offsets = new Map<string, number>()
    let next = 0
    for (const { name, type, shape } of tensors) {
      if (offsets.has(name)) throw new InfernodeError('INTERNAL', `tensor "${name}" would be written twice`)
      offsets.set(name, next)
      const id = tensorTypes[type].ggufId
      if (id === null) throw new InfernodeError('INTERNAL', `${type} has no id in GGUF`)
      const dims = [...shape].reverse().map((size) => u64Bytes(size))
      fields.push(stringBytes(name), u32Bytes(dims.length), ...dims, u32Bytes(id), u64Bytes(next))
      next = aligned(next + rowBytes(type, shape.reduce((product, size) => product * size, 1)))
    }
    const dataStart = aligned(fields.reduce((sum, field) => sum + field.length, 0))
    for (const [name, offset] of offsets) offsets.set(name, dataStart + offset)

    const partialPath = `${path}.partial`
    const handle = await openAnew(partialPath).catch((error: unknown) => Promise.reject(unwritable(path, error)))
    const writer = new GgufWriter(path, partialPath, dataStart + next, handle, offsets)
    try {
      // As large as it will be at once, zeros where nothing is written; readers want the padding behind the last tensor, too.
      await writer.attempt(handle.truncate(writer.bytes))
      await writer.writeAt(Buffer.concat(fields), 0)
      return writer
    } catch (error) {
      await writer.abort()
      throw error
    }
  }

  /** Bytes from the start of the file. */
  offsetOf(name: string): number {
    const offset = this.offsets.get(name)
    if (offset === undefined) throw new InfernodeError('INTERNAL', `tensor "${name}" is not in the header`)
    return offset
  }

  /** `at`: bytes from the start of the tensor. */
  async write(name: string, bytes: Uint8Array, at = 0): Promise<void> {
    await this.writeAt(bytes, this.offsetOf(name) + at)
  }

  /** Waits until everything is on the disk, then gives the file its name. Throws FILE_UNWRITABLE, and leaves nothing behind then. */
  async finish(): Promise<void> {
    try {
      await this.attempt(this.handle.sync())
      const [mine, found] = await this.attempt(Promise.all([this.handle.stat(), stat(this.partialPath)]))
      if (mine.ino !== found.ino || mine.dev !== found.dev)
        throw new InfernodeError('FILE_UNWRITABLE', this.path, 'another process began to write it, too')
      await this.attempt(this.handle.close())
      await this.attempt(rename(this.partialPath, this.path))
    } catch (error) {
      await this.abort()
      throw error
    }
    await syncFolder(dirname(this.path))
  }

  /** Removes what was written so far. The target stays as it was. */
  async abort(): Promise<void> {
    const others = await Promise.all([this.handle.stat(), stat(this.partialPath)]).then(
      ([mine, found]) => mine.ino !== found.ino || mine.dev !== found.dev,
      () => false,
    )
    await this.handle.close().catch(() => {})
    if (!others) await rm(this.partialPath, { force: true })
  }

  private async writeAt(bytes: Uint8Array, offset: number): Promise<void> {
    for (let done = 0; done < bytes.length;) {
      const { bytesWritten } = await this.attempt(this.handle.write(bytes, done, bytes.length - done, offset + done))
      done += bytesWritten
    }
  }

  private attempt<T>(work: Promise<T>): Promise<T> {
    return work.catch((error: unknown) => Promise.reject(unwritable(this.path, error)))
  }
}

/** Without what another process left there; one that still writes it goes on in a file without a name, and notices at its end. */
async function openAnew(path: string): Promise<FileHandle> {
  await rm(path, { force: true })
  return open(path, 'wx+')
}

/** So that the name survives a power failure, too. Not all systems can. */
async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r').catch(() => null)
  await handle?.sync().catch(() => {})
  await handle?.close()
}
