/** JSON from strangers: parsed in small turns of the event loop, limited in depth and size; a key given twice is an error. */
import { isUtf8 } from 'node:buffer'
import { InfernodeError } from '../errors.js'
import { quoteForPeople, readWhole, Turn } from './file.js'

export type Json = null | boolean | number | string | Json[] | JsonObject
export interface JsonObject {
  [key: string]: Json
}

const maxDepth = 64
const maxStringBytes = 1 << 20
const maxWordBytes = 64
const number = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/
/** The last three are not JSON, but Python writes them. */
const words: ReadonlyMap<string, Json> = new Map<string, Json>([
  ['true', true],
  ['false', false],
  ['null', null],
  ['NaN', NaN],
  ['Infinity', Infinity],
  ['-Infinity', -Infinity],
])

/** Whether a byte may be part of a number, true, false or null. */
const isWordByte = (byte: number | undefined): boolean =>
  byte !== undefined && byte > 0x20 && byte !== 0x2c && byte !== 0x5d && byte !== 0x7d

export const isJsonObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Reads a JSON file whose value is an object. Throws FILE_CORRUPT where it is not, FORMAT_UNSUPPORTED over `limit` bytes. */
export async function readJsonObject(path: string, limit: number, signal?: AbortSignal): Promise<JsonObject> {
  const value = await parseJson(await readWhole(path, limit, signal), path, 'JSON', signal)
  if (!isJsonObject(value)) throw new InfernodeError('FILE_CORRUPT', quoteForPeople(path), 'JSON', 'not an object')
  return value
}

/** Parses UTF-8 JSON. `path` and `field` are for error messages (FILE_CORRUPT). */
export async function parseJson(bytes: Buffer, path: string, field: string, signal?: AbortSignal): Promise<Json> {
  const reader = new JsonReader(
    bytes,
    (at, reason) => new InfernodeError('FILE_CORRUPT', quoteForPeople(path), field, `at byte ${at}: ${reason}`),
  )
  const turn = new Turn(signal)
  while (!reader.run(512)) if (turn.over()) await turn.next()
  return reader.result()
}

interface Container {
  readonly into: Json[] | JsonObject
  /** Of the value that is read now, in an object. */
  key: string
}

/** Recursion would let a file overflow the stack, so what is open lies in an array. */
class JsonReader {
  private at = 0
  private value: Json = null
  private readonly open: Container[] = []

  constructor(
    private readonly bytes: Buffer,
    private readonly error: (at: number, reason: string) => InfernodeError,
  ) {
    if (!isUtf8(bytes)) throw error(0, 'not UTF-8')
  }

  result(): Json {
    return this.value
  }

  /** Reads at most `steps` values; true at the end of the text. */
  run(steps: number): boolean {
    for (; steps > 0; steps--) if (this.startValue() && this.endValue()) return true
    return false
  }

  /** False when a container was opened: its first value comes next. */
  private startValue(): boolean {
    const byte = this.peek()
    if (byte === 0x22) this.value = this.string()
    else if (byte !== 0x7b && byte !== 0x5b) this.value = this.word()
    else {
      if (this.open.length === maxDepth) throw this.error(this.at, `nested deeper than ${maxDepth} levels`)
      this.at++
      const isObject = byte === 0x7b
      const into: Json[] | JsonObject = isObject ? {} : []
      if (this.peek() === (isObject ? 0x7d : 0x5d)) {
        this.at++
        this.value = into
        return true
      }
      const container = { into, key: '' }
      this.open.push(container)
      if (isObject) this.readKey(container)
      return false
    }
    return true
  }

  /** Stores the value and closes what ends after it; true at the end of the text. */
  private endValue(): boolean {
    for (;;) {
      const top = this.open.at(-1)
      if (!top) {
        if (this.peek() !== -1) throw this.error(this.at, 'text after the end')
        return true
      }
      const isArray = Array.isArray(top.into)
      if (Array.isArray(top.into)) top.into.push(this.value)
      // Assigning to __proto__ would change the object's prototype instead.
      else if (top.key === '__proto__')
        Object.defineProperty(top.into, top.key, { value: this.value, enumerable: true, configurable: true, writable: true })
      else top.into[top.key] = this.value
      const byte = this.peek()
      this.at++
      if (byte === 0x2c) {
        if (!isArray) this.readKey(top)
        return false
      }
      if (byte !== (isArray ? 0x5d : 0x7d)) throw this.unexpected(this.at - 1, isArray ? '"," or "]"' : '"," or "}"')
      this.open.pop()
      this.value = top.into
    }
  }

  private readKey(container: Container): void {
    if (this.peek() !== 0x22) throw this.unexpected(this.at, 'a key')
    const start = this.at
    container.key = this.string()
    if (Object.hasOwn(container.into, container.key))
      throw this.error(start, `the key "${quoteForPeople(container.key)}" is given twice`)
    if (this.peek() !== 0x3a) throw this.unexpected(this.at, '":"')
    this.at++
  }

  private string(): string {
    const start = this.at
    let escaped = false
    for (let at = start + 1; at < this.bytes.length; at++) {
      const byte = this.bytes[at]!
      if (byte === 0x22) {
        this.at = at + 1
        if (at - start > maxStringBytes) throw this.error(start, `a string of more than ${maxStringBytes} bytes`)
        if (!escaped) return this.bytes.toString('utf8', start + 1, at)
        try {
          return JSON.parse(this.bytes.toString('utf8', start, at + 1)) as string
        } catch {
          throw this.error(start, 'a string with an escape that does not exist')
        }
      }
      if (byte === 0x5c) {
        escaped = true
        at++
      } else if (byte < 0x20) throw this.error(at, 'a control character in a string')
    }
    throw this.error(start, 'a string without an end')
  }

  private word(): Json {
    const start = this.at
    while (isWordByte(this.bytes[this.at])) this.at++
    if (this.at - start > maxWordBytes) throw this.error(start, `a number of more than ${maxWordBytes} bytes`)
    const text = this.bytes.toString('latin1', start, this.at)
    if (number.test(text)) return Number(text)
    if (!words.has(text)) throw this.unexpected(start, 'a value')
    return words.get(text) as Json
  }

  /** The next byte that is not white space, -1 at the end. */
  private peek(): number {
    for (; this.at < this.bytes.length; this.at++) {
      const byte = this.bytes[this.at]!
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return byte
    }
    return -1
  }

  private unexpected(at: number, expected: string): InfernodeError {
    const found = at < this.bytes.length ? `"${quoteForPeople(this.bytes.toString('utf8', at, at + 12))}"` : 'the end'
    return this.error(at, `expected ${expected}, found ${found}`)
  }
}
