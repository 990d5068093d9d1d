/** Checkpoints that change while they are in use, and files that are none. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { Model } from '../../src/index.js'
import { reportOf } from '../support/children.js'

const slow = { timeout: 60_000 }
const onLinux = process.platform === 'linux'

describe.skipIf(!onLinux)('a file that changes while a model uses it', () => {
  it.each([
    ['truncate', 'FILE_CORRUPT'],
    ['overwrite', 'loads'],
    ['replace', 'FILE_CORRUPT'],
    ['remove', 'FILE_UNREADABLE'],
  ])('by "%s" does nothing to one that read it', slow, async (how, again) => {
    const report = await reportOf('changed-file', [how, 'false'])
    expect(report).toEqual({ inMidText: true, after: true, again, mapped: false })
  })

  it.each([
    ['truncate', 'FILE_CHANGED', 'FILE_CORRUPT'],
    ['overwrite', 'FILE_CHANGED', 'loads'],
    ['replace', true, 'FILE_CORRUPT'],
    ['remove', true, 'FILE_UNREADABLE'],
  ])('by "%s" fails the requests of one that mapped it, if it is not the same any more', slow, async (how, after, again) => {
    const report = await reportOf('changed-file', [how, 'true'])
    expect(report).toEqual({ after, again, mapped: false })
  })
})

describe('what is no checkpoint file', () => {
  const folder = (): string => {
    const path = mkdtempSync(join(tmpdir(), 'infernode-none-'))
    onTestFinished(() => rmSync(path, { recursive: true }))
    return path
  }

  it.skipIf(!onLinux).each(['/proc/self/mem', '/dev/zero', '/dev/null', '/proc/self/maps', '/proc/self/fd'])(
    'is refused: %s',
    async (path) => {
      for (const mmap of [true, false])
        await expect(Model.load(path, { mmap })).rejects.toMatchObject({ code: expect.stringMatching(/^(FILE_|FORMAT_)/) })
    },
  )

  it.skipIf(process.platform === 'win32')('is refused at once: a pipe that nobody writes to, also as a part of a folder', async () => {
    const path = folder()
    execFileSync('mkfifo', [join(path, 'model.gguf'), join(path, 'config.json')])
    await expect(Model.load(join(path, 'model.gguf'))).rejects.toMatchObject({ code: expect.stringMatching(/^(FILE_|FORMAT_)/) })
    await expect(Model.load(path)).rejects.toMatchObject({ code: expect.stringMatching(/^(FILE_|FORMAT_)/) })
  })

  it('is refused: a folder where a file should be, and an empty file', async () => {
    const path = folder()
    mkdirSync(join(path, 'model.gguf'))
    await expect(Model.load(join(path, 'model.gguf'))).rejects.toMatchObject({ code: expect.stringMatching(/^(FILE_|FORMAT_)/) })
    writeFileSync(join(path, 'empty.gguf'), '')
    await expect(Model.load(join(path, 'empty.gguf'))).rejects.toMatchObject({ code: expect.stringMatching(/^(FILE_|FORMAT_)/) })
  })
})
