/** Reads the header of one GGUF file, v2 or v3: metadata and the list of tensors. Long arrays are walked, not decoded. */
import { InfernodeError } from '../errors.js'
import { tensorTypes, type TensorTypeName } from '../tensor-types.js'
import type { GgufArrayRange, GgufValue } from './checkpoint.js'
import { OpenFile, quoteForPeople, Turn } from './file.js'

/** By their id in the file. `bytes` is 0 where the size varies. */
const valueTypes = [
  { name: 'u8', bytes: 1 },
  { name: 'i8', bytes: 1 },
  { name: 'u16', bytes: 2 },
  { name: 'i16', bytes: 2 },
  { name: 'u32', bytes: 4 },
  { name: 'i32', bytes: 4 },
  { name: 'f32', bytes: 4 },
  { name: 'bool', bytes: 1 },
  { name: 'string', bytes: 0 },
  { name: 'array', bytes: 0 },
  { name: 'u64', bytes: 8 },
  { name: 'i64', bytes: 8 },
  { name: 'f64', bytes: 8 },
] as const

export type GgufTypeName = (typeof valueTypes)[number]['name']

/** The id that a type of metadata values has in files. */
export const ggufTypeId = (name: GgufTypeName): number => valueTypes.findIndex((type) => type.name === name)

type Scalar = number | bigint | boolean | string

/** One metadata entry. `array` says where an array lies, decoded or not. */
export interface GgufEntry {
  readonly value: GgufValue
  readonly array: { readonly elements: GgufTypeName; readonly range: GgufArrayRange } | null
  /** Where the value lies in the file, its type in front: what another file gets to have the same entry. */
  readonly place: { readonly offset: number; readonly bytes: number }
}

export interface GgufTensor {
  readonly name: string
  readonly type: TensorTypeName
  /** Row-major: the file's dimensions in reverse. */
  readonly shape: readonly number[]
  /** Bytes from the start of the file. */
  readonly offset: number
  readonly bytes: number
}

export interface GgufHeader {
  readonly version: number
  readonly metadata: ReadonlyMap<string, GgufEntry>
  readonly alignment: number
  readonly tensors: readonly GgufTensor[]
}

/** Types that GGUF has and tensor-types.ts has not, so that errors can name them. */
const otherTensorTypes: Readonly<Record<number, string>> = {
  4: 'q4_2, removed from GGUF',
  5: 'q4_3, removed from GGUF',
  9: 'q8_1',
  15: 'q8_k',
  24: 'i8',
  25: 'i16',
  27: 'i64',
  28: 'f64',
  31: 'q4_0_4_4, removed from GGUF',
  32: 'q4_0_4_8, removed from GGUF',
  33: 'q4_0_8_8, removed from GGUF',
  36: 'iq4_nl_4_4, removed from GGUF',
  37: 'iq4_nl_4_8, removed from GGUF',
  38: 'iq4_nl_8_8, removed from GGUF',
}

const tensorTypeOfId = new Map<number, TensorTypeName>(
  (Object.keys(tensorTypes) as TensorTypeName[]).flatMap((name) => {
    const id = tensorTypes[name].ggufId
    return id === null ? [] : [[id, name] as const]
  }),
)

// Far beyond every published checkpoint; they bound the memory that a hostile header can ask for.
const maxEntries = 65_536
const maxTensors = 65_536
const maxNameBytes = 1024
const maxStringBytes = 1 << 20
const maxTextBytes = 16 << 20
const maxStrings = 1 << 24
/** Arrays up to this many elements, and this many bytes, are decoded. */
const maxDecodedElements = 1024
const maxDecodedBytes = 64 << 10
const defaultAlignment = 32
const maxAlignment = 1 << 20
// The least bytes that an entry takes: an empty key, its type and one byte; a tensor: empty name, one dimension, type, offset.
const minEntryBytes = 8 + 4 + 1
const minTensorBytes = 8 + 4 + 8 + 4 + 8

/** Throws FILE_CORRUPT, FORMAT_UNSUPPORTED (both name the field), FILE_UNREADABLE, FILE_CHANGED or ABORTED. */
export async function readGgufHeader(file: OpenFile, signal?: AbortSignal): Promise<GgufHeader> {
  return new HeaderReader(file, signal).read()
}

class HeaderReader {
  private storage: Buffer = Buffer.alloc(0)
  /** Bytes of the file from `start`, in `storage`; `at` may point past them after a skip. */
  private buffer: Buffer = this.storage
  private start = 0
  private at = 0
  private chunk = 64 << 10
  private readonly turn: Turn
  private textBytes = 0
  /** What is read now, for error messages. */
  private field = 'header'

  constructor(
    private readonly file: OpenFile,
    signal: AbortSignal | undefined,
  ) {
    this.turn = new Turn(signal)
  }

  async read(): Promise<GgufHeader> {
    const version = await this.readVersion()
    await this.fill(16)
    const nTensors = this.count('tensors', minTensorBytes, maxTensors)
    const nEntries = this.count('metadata entries', minEntryBytes, maxEntries)
    const metadata = await this.readMetadata(nEntries)
    const alignment = this.alignment(metadata)
    const tensors = await this.readTensors(nTensors, alignment)
    return { version, metadata, alignment, tensors }
  }

  private async readVersion(): Promise<number> {
    this.field = 'magic'
    if (this.file.bytes === 0) throw this.corrupt('the file is empty')
    await this.fill(4)
    const magic = this.buffer.toString('latin1', 0, 4)
    if (magic === 'FUGG') throw this.unsupported('the file is big-endian; only little-endian files are read')
    if (magic !== 'GGUF') throw this.corrupt(`expected "GGUF", found "${quoteForPeople(magic)}"`)
    this.at += 4
    this.field = 'version'
    await this.fill(4)
    const version = this.u32()
    if (version === 2 || version === 3) return version
    if (version !== 0 && (version & 0xffff) === 0)
      throw this.unsupported('the file is big-endian; only little-endian files are read')
    throw this.unsupported(`GGUF version ${version}; versions 2 and 3 are read`)
  }

  private count(what: string, minBytes: number, limit: number): number {
    this.field = `number of ${what}`
    const count = this.u64()
    const left = this.left()
    if (count > Math.floor(left / minBytes))
      throw this.corrupt(`${count} ${what} need at least ${BigInt(count) * BigInt(minBytes)} bytes, the file has ${left} more`)
    if (count > limit) throw this.unsupported(`${count} ${what}, more than ${limit}`)
    return Number(count)
  }

  // Metadata

  private async readMetadata(nEntries: number): Promise<Map<string, GgufEntry>> {
    const metadata = new Map<string, GgufEntry>()
    for (let i = 0; i < nEntries; i++) {
      if (this.turn.over()) await this.turn.next()
      this.field = `key of metadata entry ${i}`
      const key = await this.name()
      this.field = `metadata "${quoteForPeople(key)}"`
      if (metadata.has(key)) throw this.corrupt('given twice')
      const offset = this.offset()
      await this.fill(4)
      const type = this.valueType()
      const entry = type.name === 'array' ? await this.array() : { value: await this.scalar(type), array: null }
      metadata.set(key, { ...entry, place: { offset, bytes: this.offset() - offset } })
    }
    return metadata
  }

  private valueType(): (typeof valueTypes)[number] {
    const id = this.u32()
    const type = valueTypes[id]
    if (!type) throw this.corrupt(`a value of the type ${id}, which does not exist`)
    return type
  }

  private async scalar(type: (typeof valueTypes)[number]): Promise<Scalar | GgufArrayRange> {
    if (type.name !== 'string') {
      await this.fill(type.bytes)
      return this.fixed(type.name)
    }
    const offset = this.offset()
    await this.fill(8)
    const length = this.length()
    // Some converters store a whole tokenizer.json as one string: it stays in the file.
    if (length > maxStringBytes) {
      this.at += length
      return { offset, bytes: 8 + length, count: 1 }
    }
    return this.text(length)
  }

  private async array(): Promise<Omit<GgufEntry, 'place'>> {
    await this.fill(12)
    const type = this.valueType()
    if (type.name === 'array') throw this.unsupported('an array of arrays')
    const count = this.u64()
    const offset = this.offset()
    const left = this.left()
    const minBytes = type.bytes || 8
    if (count > Math.floor(left / minBytes)) {
      const needed = BigInt(count) * BigInt(minBytes)
      throw this.corrupt(`an array of ${count} values needs at least ${needed} bytes, the file has ${left} more`)
    }
    const n = Number(count)
    // The only arrays whose walk takes time.
    if (type.name === 'string' && n > maxStrings) throw this.unsupported(`an array of ${n} strings, more than ${maxStrings}`)
    if (type.name === 'string') await this.skipStrings(n)
    else this.at += n * type.bytes
    const range = { offset, bytes: this.offset() - offset, count: n }
    const array = { elements: type.name, range }
    if (n > maxDecodedElements || range.bytes > maxDecodedBytes) return { value: range, array }
    const values: Scalar[] = []
    await this.rewind(offset)
    for (let i = 0; i < n; i++) {
      const value = await this.scalar(type)
      values.push(value as Scalar)
    }
    return { value: values, array }
  }

  /** Reads lengths only: 262,144 tokens take about 2 ms, decoding them takes over 100. */
  private async skipStrings(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      i += this.skipShortStrings(Math.min(count - i, 1024))
      if (i === count) return
      if (this.turn.over()) await this.turn.next()
      await this.fill(8)
      const length = this.length()
      this.at += length
    }
  }

  /**
   * Skips up to `most` strings that lie within the buffer whole, as nearly all do, and says how many it were. It reads bytes by itself: the
   * general way takes three times as long, before V8 has compiled it.
   */
  private skipShortStrings(most: number): number {
    const bytes = this.buffer
    let at = this.at
    let n = 0
    for (; n < most && at + 8 <= bytes.length; n++) {
      const length = bytes[at]! + 256 * (bytes[at + 1]! + 256 * bytes[at + 2]!)
      const long = bytes[at + 3]! | bytes[at + 4]! | bytes[at + 5]! | bytes[at + 6]! | bytes[at + 7]!
      if (long !== 0 || length > bytes.length - at - 8) break
      at += 8 + length
    }
    this.at = at
    return n
  }

  private fixed(type: GgufTypeName): Scalar {
    const at = this.at
    switch (type) {
      case 'u8':
        this.at += 1
        return this.buffer.readUInt8(at)
      case 'i8':
        this.at += 1
        return this.buffer.readInt8(at)
      case 'u16':
        this.at += 2
        return this.buffer.readUInt16LE(at)
      case 'i16':
        this.at += 2
        return this.buffer.readInt16LE(at)
      case 'u32':
        this.at += 4
        return this.buffer.readUInt32LE(at)
      case 'i32':
        this.at += 4
        return this.buffer.readInt32LE(at)
      case 'f32':
        this.at += 4
        return this.buffer.readFloatLE(at)
      case 'f64':
        this.at += 8
        return this.buffer.readDoubleLE(at)
      case 'u64':
        return numberIfExact(this.u64())
      case 'i64':
        this.at += 8
        return numberIfExact(this.buffer.readBigInt64LE(at))
      case 'bool': {
        const byte = this.buffer.readUInt8(at)
        if (byte > 1) throw this.corrupt(`a boolean of value ${byte}`)
        this.at += 1
        return byte === 1
      }
      default:
        throw new InfernodeError('INTERNAL', `${type} has no fixed size`)
    }
  }

  private alignment(metadata: ReadonlyMap<string, GgufEntry>): number {
    this.field = 'metadata "general.alignment"'
    const value = metadata.get('general.alignment')?.value ?? defaultAlignment
    if (
      typeof value !== 'number' ||
      !Number.isInteger(value) ||
      value < 8 ||
      value > maxAlignment ||
      (value & (value - 1)) !== 0
    )
      throw this.corrupt(`expected a power of two from 8 to ${maxAlignment}, found ${shown(value)}`)
    return value
  }

  // Tensors

  private async readTensors(nTensors: number, alignment: number): Promise<GgufTensor[]> {
    const tensors: GgufTensor[] = []
    const names = new Set<string>()
    for (let i = 0; i < nTensors; i++) {
      if (this.turn.over()) await this.turn.next()
      this.field = `name of tensor ${i}`
      const name = await this.name()
      this.field = `tensor "${quoteForPeople(name)}"`
      if (names.has(name)) throw this.corrupt('listed twice')
      names.add(name)
      tensors.push({ name, ...(await this.readTensor(alignment)) })
    }
    // Offsets count from the end of the header, which is known only now.
    const dataStart = Math.ceil(this.offset() / alignment) * alignment
    const placed = tensors.map((tensor) => ({ ...tensor, offset: dataStart + tensor.offset }))
    this.checkPlaces(placed)
    return placed
  }

  private async readTensor(alignment: number): Promise<Omit<GgufTensor, 'name'>> {
    await this.fill(4)
    const nDims = this.u32()
    if (nDims < 1 || nDims > 4) throw this.corrupt(`${nDims} dimensions, expected 1 to 4`)
    await this.fill(nDims * 8 + 12)
    const dims: bigint[] = []
    for (let d = 0; d < nDims; d++) dims.push(BigInt(this.u64()))
    const values = dims.reduce((product, dim) => product * dim, 1n)
    if (values === 0n) throw this.corrupt(`a dimension of zero in [${dims.join(', ')}]`)
    const type = this.tensorType()
    const { blockValues, blockBytes } = tensorTypes[type]
    if (dims[0]! % BigInt(blockValues) !== 0n)
      throw this.corrupt(`rows of ${dims[0]} values, but ${type} has blocks of ${blockValues}`)
    const bytes = (values / BigInt(blockValues)) * BigInt(blockBytes)
    if (bytes > BigInt(this.file.bytes)) throw this.corrupt(this.missing(bytes - BigInt(this.file.bytes)))
    const offset = this.u64()
    if (offset > this.file.bytes)
      throw this.corrupt(`its offset is ${offset}; ${this.missing(BigInt(offset) - BigInt(this.file.bytes))}`)
    if (Number(offset) % alignment !== 0)
      throw this.corrupt(`its offset ${offset} is not a multiple of the alignment, ${alignment}`)
    // Every dimension is exact as a number: the bytes fit the file, and a byte holds two values at most.
    return { type, shape: dims.map(Number).reverse(), offset: Number(offset), bytes: Number(bytes) }
  }

  private tensorType(): TensorTypeName {
    const id = this.u32()
    const type = tensorTypeOfId.get(id)
    if (type) return type
    const known = otherTensorTypes[id]
    throw this.unsupported(known ? `the tensor type ${known} (id ${id}) is not read` : `the tensor type id ${id} is not known`)
  }

  private checkPlaces(tensors: readonly GgufTensor[]): void {
    let end = 0
    let before: GgufTensor | undefined
    for (const tensor of [...tensors].sort((a, b) => a.offset - b.offset)) {
      this.field = `tensor "${quoteForPeople(tensor.name)}"`
      if (before && tensor.offset < end) throw this.corrupt(`its bytes overlap those of "${quoteForPeople(before.name)}"`)
      end = tensor.offset + tensor.bytes
      before = tensor
    }
    // Of the last tensor: that no two overlap makes its end the farthest.
    if (end > this.file.bytes) throw this.corrupt(this.missing(BigInt(end) - BigInt(this.file.bytes)))
  }

  // Bytes

  private offset(): number {
    return this.start + this.at
  }

  private left(): number {
    return this.file.bytes - this.offset()
  }

  /** Makes `bytes` bytes available from `offset()`. Chunks grow, so small headers cost one small read. */
  private async fill(bytes: number): Promise<void> {
    if (this.at + bytes <= this.buffer.length) return
    if (bytes > this.left()) throw this.corrupt(this.missing(BigInt(bytes - this.left())))
    const start = this.offset()
    const size = Math.min(Math.max(this.chunk, bytes), this.left())
    if (this.storage.length < size) this.storage = Buffer.allocUnsafe(size)
    // What is left of the last chunk moves to the front; it may lie in the storage itself.
    const kept = this.buffer.copy(this.storage, 0, Math.min(this.at, this.buffer.length))
    this.buffer = this.storage.subarray(0, size)
    this.start = start
    this.at = 0
    await this.file.read(this.buffer.subarray(kept), start + kept)
    this.chunk = Math.min(this.chunk * 2, 1 << 20)
  }

  /** Goes back to an offset that was read before. */
  private async rewind(offset: number): Promise<void> {
    if (offset >= this.start) {
      this.at = offset - this.start
      return
    }
    this.buffer = Buffer.alloc(0)
    this.start = offset
    this.at = 0
  }

  private u32(): number {
    const value = this.buffer.readUInt32LE(this.at)
    this.at += 4
    return value
  }

  /** A bigint only where a number would not hold it. */
  private u64(): number | bigint {
    const low = this.buffer.readUInt32LE(this.at)
    const high = this.buffer.readUInt32LE(this.at + 4)
    this.at += 8
    return high < 0x20_0000 ? high * 0x1_0000_0000 + low : (BigInt(high) << 32n) + BigInt(low)
  }

  /** The length of a string that is within the file. */
  private length(): number {
    const length = this.u64()
    const left = this.left()
    if (length > left) throw this.corrupt(`a string of ${length} bytes; ${this.missing(BigInt(length) - BigInt(left))}`)
    return Number(length)
  }

  private async name(): Promise<string> {
    await this.fill(8)
    const length = this.length()
    if (length > maxNameBytes) throw this.corrupt(`a name of ${length} bytes, more than ${maxNameBytes}`)
    return this.text(length)
  }

  private async text(bytes: number): Promise<string> {
    this.textBytes += bytes
    if (this.textBytes > maxTextBytes) throw this.unsupported(`more than ${maxTextBytes} bytes of text in the header`)
    await this.fill(bytes)
    const text = this.buffer.toString('utf8', this.at, this.at + bytes)
    this.at += bytes
    return text
  }

  private missing(bytes: bigint): string {
    return `${bytes} bytes are missing, the file has ${this.file.bytes}`
  }

  private corrupt(reason: string): InfernodeError {
    return new InfernodeError('FILE_CORRUPT', quoteForPeople(this.file.path), this.field, reason)
  }

  private unsupported(reason: string): InfernodeError {
    return new InfernodeError('FORMAT_UNSUPPORTED', quoteForPeople(this.file.path), this.field, reason)
  }
}

const shown = (value: GgufValue): string => (typeof value === 'object' ? 'an array' : quoteForPeople(String(value)))

const numberIfExact = (value: number | bigint): number | bigint =>
  typeof value === 'bigint' && value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value
