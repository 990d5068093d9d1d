/** Opens checkpoints: a file by its first bytes, a folder by what is in it. */
import { readdir } from 'node:fs/promises'
import { InfernodeError } from '../errors.js'
import type { Checkpoint } from './checkpoint.js'
import { kindOf, OpenFile, quoteForPeople, throwIfAborted, unreadable } from './file.js'
import { openGguf } from './gguf.js'
import { openHuggingFace } from './huggingface.js'

/** What lies at the path, as far as it takes to tell formats apart. */
type Found =
  | { readonly kind: 'file'; /** At most 64 bytes. */ readonly start: Buffer }
  | { readonly kind: 'folder'; readonly names: readonly string[] }

interface Format {
  recognizes(found: Found): boolean
  open(path: string, signal?: AbortSignal): Promise<Checkpoint>
}

/** A format is one file and one entry here. */
const formats: readonly Format[] = [
  {
    // Also with its bytes the other way round, so that the reader can say what is wrong.
    recognizes: (found) => found.kind === 'file' && ['GGUF', 'FUGG'].includes(found.start.toString('latin1', 0, 4)),
    open: openGguf,
  },
  {
    recognizes: (found) => found.kind === 'folder' && found.names.includes('config.json'),
    open: openHuggingFace,
  },
]

export interface OpenOptions {
  readonly signal?: AbortSignal
}

/**
 * Reads the headers of a checkpoint: a GGUF file, or a Hugging Face folder. Weights and vocabulary stay in their files.
 * Throws FORMAT_UNKNOWN, FORMAT_UNSUPPORTED, FILE_CORRUPT, CONFIG_INVALID (each with file, field and reason), FILE_UNREADABLE,
 * FILE_CHANGED, INVALID_ARGUMENT or ABORTED.
 */
export async function openCheckpoint(path: string, { signal }: OpenOptions = {}): Promise<Checkpoint> {
  if (typeof path !== 'string' || path === '' || path.includes('\0'))
    throw new InfernodeError(
      'INVALID_ARGUMENT',
      'path',
      'the path of a file or folder',
      typeof path === 'string' ? `"${quoteForPeople(path)}"` : typeof path,
    )
  throwIfAborted(signal)
  const found = await look(path, signal)
  const format = formats.find((format) => format.recognizes(found))
  if (!format)
    throw new InfernodeError(
      'FORMAT_UNKNOWN',
      quoteForPeople(path),
      found.kind === 'file' ? describeFile(found.start) : describeFolder(found.names),
    )
  return format.open(path, signal)
}

async function look(path: string, signal: AbortSignal | undefined): Promise<Found> {
  switch (await kindOf(path)) {
    case 'folder':
      return { kind: 'folder', names: await readdir(path).catch((error: unknown) => Promise.reject(unreadable(path, error))) }
    case 'file':
      return OpenFile.use(path, signal, async (file) => {
        const start = Buffer.alloc(Math.min(file.bytes, 64))
        await file.read(start, 0)
        return { kind: 'file', start }
      })
    case 'other':
      throw new InfernodeError('FORMAT_UNKNOWN', quoteForPeople(path), 'it is neither a file nor a folder')
  }
}

/** Files that people pass by mistake, by their first bytes. */
const mistakes: readonly (readonly [RegExp, string])[] = [
  [/^$/, 'it is empty'],
  [/^version https:\/\/git-lfs/, 'it is a Git LFS pointer, not the file itself; run "git lfs pull"'],
  [/^PK\x03\x04/, 'it is a zip archive, as PyTorch saves; convert it to safetensors or GGUF'],
  [/^\x80[\x02-\x05]/, 'it is a Python pickle, as PyTorch saved; convert it to safetensors or GGUF'],
  [/^(lmgg|fmgg|tjgg|algg)/, 'it is of a format older than GGUF; convert it again'],
  [/^[^]{6}\0\0\{/, 'it is a safetensors file without its folder; pass the folder that has config.json and this file'],
  [/^\s*[{[]/, 'it looks like JSON; pass the folder that it is in'],
  [/^\s*<(!doctype|html)/i, 'it is a web page, as a download that failed leaves behind'],
]

function describeFile(start: Buffer): string {
  const text = start.toString('latin1')
  return (
    mistakes.find(([pattern]) => pattern.test(text))?.[1] ??
    `its first bytes are ${start.toString('hex', 0, 8).replace(/..(?=.)/g, '$& ')}`
  )
}

function describeFolder(names: readonly string[]): string {
  const checkpoints = names.filter((name) => /\.(gguf|safetensors)$/i.test(name)).sort()
  if (checkpoints.length === 0) return names.length === 0 ? 'the folder is empty' : 'the folder has no config.json'
  const list = checkpoints.slice(0, 3).map(quoteForPeople).join(', ') + (checkpoints.length > 3 ? ', …' : '')
  const gguf = checkpoints.find((name) => /\.gguf$/i.test(name))
  return `the folder has no config.json, but ${list}${gguf ? `; pass the path of ${quoteForPeople(gguf)} itself` : ''}`
}
