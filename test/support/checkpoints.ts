/** Where tests find checkpoints, and small ones made on the spot. */
import { existsSync } from 'node:fs'
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'
import type { Checkpoint, TensorInfo } from '../../src/formats/checkpoint.js'

const root = fileURLToPath(new URL('../../', import.meta.url))
const models = process.env['INFERNODE_TEST_MODELS'] ?? join(root, '../shared/models')

/** One of the golden checkpoints in the repository, whatever INFERNODE_GOLDENS says: its exact contents are known. */
export const fixture = (path: string): string => join(root, 'test/fixtures/goldens', path)

/** A real checkpoint that is not in the repository, or null; says what is skipped then. */
export function testModel(path: string, skipped: string): string | null {
  const found = join(models, path)
  if (existsSync(found)) return found
  console.warn(`SKIPPED: ${skipped}. ${path} is not in INFERNODE_TEST_MODELS.`)
  return null
}

/** The bytes of a tensor, or of any range in one of the checkpoint's files. */
export async function bytesOf(checkpoint: Checkpoint, tensor: Pick<TensorInfo, 'file' | 'offset' | 'bytes'>): Promise<Buffer> {
  const handle = await open(checkpoint.files[tensor.file]!.path)
  try {
    const bytes = Buffer.alloc(tensor.bytes)
    await handle.read(bytes, 0, bytes.length, tensor.offset)
    return bytes
  } finally {
    await handle.close()
  }
}

/** A folder that goes away with the test. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'infernode-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** The path of a temporary file with this content. */
export async function temporaryFile(name: string, content: Uint8Array | string): Promise<string> {
  const path = join(await temporaryFolder(), name)
  await writeFile(path, content)
  return path
}

export interface SafetensorsEntry {
  readonly dtype: string
  readonly shape: readonly number[]
  readonly data_offsets: readonly number[]
}

/** A safetensors file: any JSON as its header (or the header's text), then zeros or the data given. */
export function writeSafetensors(header: unknown, data: Uint8Array | number = 0): Buffer {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(text.length))
  return Buffer.concat([length, text, typeof data === 'number' ? Buffer.alloc(data) : data])
}
