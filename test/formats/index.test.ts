import { chmod, symlink, writeFile } from 'node:fs/promises'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openCheckpoint } from '../../src/formats/index.js'
import { fixture, temporaryFile, temporaryFolder, writeSafetensors } from '../support/checkpoints.js'

describe('openCheckpoint', () => {
  const mistakes: Record<string, [string | Uint8Array, RegExp]> = {
    'an empty file': ['', /is not a checkpoint that infernode knows: it is empty\. Pass a GGUF file/],
    'a Git LFS pointer': ['version https://git-lfs.github.com/spec/v1\noid sha256:00\n', /git lfs pull/],
    'a zip archive': ['PK\x03\x04....', /zip archive/],
    'a pickle': [Uint8Array.of(0x80, 2, 0x7d), /pickle/],
    'an old GGML file': ['lmgg....', /older than GGUF/],
    'a safetensors file alone': [
      writeSafetensors({ a: { dtype: 'F32', shape: [1], data_offsets: [0, 4] } }, 4),
      /pass the folder/,
    ],
    'a JSON file': ['{"model_type": "llama"}', /looks like JSON/],
    'a web page': ['<!DOCTYPE html><html>', /web page/],
    'any other file': [Uint8Array.of(1, 2, 3, 250, 5, 6, 7, 8, 9), /its first bytes are 01 02 03 fa 05 06 07 08\./],
  }
  for (const [name, [content, message]] of Object.entries(mistakes))
    it(`tells ${name} apart`, async () => {
      const opened = openCheckpoint(await temporaryFile('model', content))
      await expect(opened).rejects.toMatchObject({ code: 'FORMAT_UNKNOWN', name: 'InfernodeError' })
      await expect(opened).rejects.toThrow(message)
    })

  it('goes by the content, not by the name', async () => {
    const folder = await temporaryFolder()
    await symlink(fixture('gguf/llama/model.gguf'), join(folder, 'weights.bin'))
    expect((await openCheckpoint(join(folder, 'weights.bin'))).format).toBe('gguf')
  })

  it('tells what a folder without config.json has', async () => {
    const folder = await temporaryFolder()
    await expect(openCheckpoint(folder)).rejects.toThrow(/the folder is empty/)
    await writeFile(join(folder, 'notes.txt'), '')
    await expect(openCheckpoint(folder)).rejects.toThrow(/has no config\.json\./)
    await writeFile(join(folder, 'a.gguf'), '')
    await expect(openCheckpoint(folder)).rejects.toThrow(/a\.gguf; pass the path of a\.gguf itself/)
  })

  it('rejects what cannot be read, with the reason', async () => {
    const folder = await temporaryFolder()
    await symlink(join(folder, 'loop'), join(folder, 'loop'))
    await symlink(join(folder, 'nothing'), join(folder, 'dangling'))
    await writeFile(join(folder, 'file'), 'GGUF')
    const cases: [string, string, RegExp][] = [
      [join(folder, 'missing.gguf'), 'FILE_UNREADABLE', /missing\.gguf cannot be read: it does not exist/],
      [join(folder, 'dangling'), 'FILE_UNREADABLE', /does not exist/],
      [join(folder, 'loop'), 'FILE_UNREADABLE', /links form a loop/],
      [join(folder, 'file/inside'), 'FILE_UNREADABLE', /not a folder/],
      [join(folder, 'x'.repeat(300)), 'FILE_UNREADABLE', /too long/],
      ['/dev/null', 'FORMAT_UNKNOWN', /neither a file nor a folder/],
    ]
    for (const [path, code, message] of cases) {
      const opened = openCheckpoint(path)
      await expect(opened, path).rejects.toMatchObject({ code })
      await expect(opened, path).rejects.toThrow(message)
    }
  })

  it.skipIf(spawnSync('mkfifo', ['--version']).error)('does not wait for a pipe', async () => {
    const path = join(await temporaryFolder(), 'pipe')
    spawnSync('mkfifo', [path])
    await expect(openCheckpoint(path)).rejects.toMatchObject({ code: 'FORMAT_UNKNOWN' })
  })

  it.skipIf(process.getuid?.() === 0)('tells that permission is denied', async () => {
    const path = await temporaryFile('model.gguf', 'GGUF')
    await chmod(path, 0)
    await expect(openCheckpoint(path)).rejects.toThrow(/permission denied/)
  })

  it('rejects a path that is none', async () => {
    for (const path of ['', 'a\0b', undefined, 7, Buffer.from('x')])
      await expect(openCheckpoint(path as string)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  it('can be aborted', async () => {
    const signal = AbortSignal.abort()
    await expect(openCheckpoint(fixture('llama'), { signal })).rejects.toMatchObject({ code: 'ABORTED' })
    await expect(openCheckpoint(fixture('gguf/llama/model.gguf'), { signal })).rejects.toMatchObject({ code: 'ABORTED' })
  })
})
