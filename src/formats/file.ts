/** Regular files, read asynchronously and in parts, with errors that name the file. */
import { constants } from 'node:fs'
import { open, stat, type FileHandle } from 'node:fs/promises'
import { InfernodeError } from '../errors.js'
import type { CheckpointFile } from './checkpoint.js'

/** Reasons for people, by system error; others are told by their code. */
const reasons: Readonly<Record<string, string>> = {
  ENOENT: 'it does not exist',
  ENOTDIR: 'a part of its path is not a folder',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EISDIR: 'it is a folder',
  ELOOP: 'its symbolic links form a loop',
  ENAMETOOLONG: 'its name is too long',
  EMFILE: 'too many files are open',
  ENFILE: 'too many files are open',
  EIO: 'the device reports an error',
}

const writingReasons: Readonly<Record<string, string>> = {
  ENOENT: 'its folder does not exist',
  ENOSPC: 'the disk is full',
  EDQUOT: 'the quota is used up',
  EFBIG: 'the file system holds no files of that size',
  EROFS: 'the file system is read-only',
}

export function unreadable(path: string, error: unknown): InfernodeError {
  const { code, message } = error as NodeJS.ErrnoException
  return new InfernodeError('FILE_UNREADABLE', quoteForPeople(path), (code && reasons[code]) ?? code ?? message)
}

/** The same for a file that is written. */
export function unwritable(path: string, error: unknown): InfernodeError {
  const { code, message } = error as NodeJS.ErrnoException
  const reason = (code && (writingReasons[code] ?? reasons[code])) ?? code ?? message
  return new InfernodeError('FILE_UNWRITABLE', quoteForPeople(path), reason)
}

/** A name from a file or a path, as it goes into messages: control characters escaped, long ones shortened. */
export function quoteForPeople(name: string): string {
  const short = name.length > 200 ? `${name.slice(0, 120)}…${name.slice(-60)}` : name
  return short.replace(
    /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

/** What lies at a path, links followed. Never opens it: opening a device or a pipe may block or do something. */
export async function kindOf(path: string): Promise<'file' | 'folder' | 'other'> {
  const found = await stat(path).catch((error: unknown) => Promise.reject(unreadable(path, error)))
  return found.isFile() ? 'file' : found.isDirectory() ? 'folder' : 'other'
}

export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => (error.code === 'ENOENT' ? false : Promise.reject(unreadable(path, error))),
  )
}

/** An open file and the size it had when it was opened. */
export class OpenFile implements CheckpointFile {
  private constructor(
    readonly path: string,
    readonly bytes: number,
    readonly mtimeMs: number,
    private readonly handle: FileHandle,
    private readonly signal: AbortSignal | undefined,
  ) {}

  /** Opens a regular file, hands it to `use` and closes it. Throws FILE_UNREADABLE, or ABORTED before any read. */
  static async use<T>(path: string, signal: AbortSignal | undefined, use: (file: OpenFile) => Promise<T>): Promise<T> {
    if ((await kindOf(path)) !== 'file')
      throw new InfernodeError('FILE_UNREADABLE', quoteForPeople(path), 'it is not a regular file')
    // Without O_NONBLOCK a pipe that took the file's place meanwhile would block a thread of the pool for ever.
    const flags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)
    const handle = await open(path, flags).catch((error: unknown) => Promise.reject(unreadable(path, error)))
    try {
      const found = await handle.stat()
      if (!found.isFile()) throw new InfernodeError('FILE_UNREADABLE', quoteForPeople(path), 'it is not a regular file')
      return await use(new OpenFile(path, found.size, found.mtimeMs, handle, signal))
    } finally {
      await handle.close()
    }
  }

  /** Fills `into` from `offset`. The range lies within `bytes`; a file that became shorter is FILE_CHANGED. */
  async read(into: Uint8Array, offset: number): Promise<void> {
    for (let done = 0; done < into.length;) {
      throwIfAborted(this.signal)
      const { bytesRead } = await this.handle
        .read(into, done, into.length - done, offset + done)
        .catch((error: unknown) => Promise.reject(unreadable(this.path, error)))
      if (bytesRead === 0) throw new InfernodeError('FILE_CHANGED', quoteForPeople(this.path))
      done += bytesRead
    }
  }
}

/** Reads a small file whole; one of more than `limit` bytes is FORMAT_UNSUPPORTED. */
export async function readWhole(path: string, limit: number, signal?: AbortSignal): Promise<Buffer> {
  return OpenFile.use(path, signal, async (file) => {
    if (file.bytes > limit)
      throw new InfernodeError(
        'FORMAT_UNSUPPORTED',
        quoteForPeople(path),
        'size',
        `${file.bytes} bytes, more than the ${limit} that are read of such a file`,
      )
    const bytes = Buffer.allocUnsafe(file.bytes)
    await file.read(bytes, 0)
    return bytes
  })
}

export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new InfernodeError('ABORTED', 'Opening the checkpoint')
}

/** Lets long walks give way: call `over()` often and, when it is true, `await next()`. */
export class Turn {
  private start = performance.now()
  constructor(private readonly signal?: AbortSignal) {}

  /** Whether the caller has held the event loop for 2 ms. */
  over(): boolean {
    return performance.now() - this.start > 2
  }

  async next(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve))
    throwIfAborted(this.signal)
    this.start = performance.now()
  }
}
