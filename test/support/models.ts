/** Where tests of the public classes find real checkpoints, and folders that go away. */
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'

const models = process.env.INFERNODE_TEST_MODELS ?? join(import.meta.dirname, '../../../shared/models')

/** The path of a checkpoint that is not in the repository, or null; says loudly what is skipped then. */
export function realModel(path: string, skipped: string): string | null {
  const found = join(models, path)
  if (existsSync(found)) return found
  console.warn(`SKIPPED: ${skipped}. ${path} is not in INFERNODE_TEST_MODELS.`)
  return null
}

export async function folderForTest(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'infernode-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}
