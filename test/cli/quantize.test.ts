/** `infernode quantize` and `infernode convert` as a user runs them. Needs `npm run build`. */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { fixture } from '../support/checkpoints.js'
import { folderForTest } from '../support/models.js'

const main = join(import.meta.dirname, '../../dist/cli/main.js')
const llama = fixture('llama')
const embedded = join(import.meta.dirname, '../../models/fairytale-q8_0.gguf')

function infernode(args: string[], onStart?: (kill: (signal: NodeJS.Signals) => void) => void) {
  const child = spawn(process.execPath, [main, ...args])
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text) => (stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text))
  onStart?.((signal) => child.kill(signal))
  return new Promise<{ code: number | null; stdout: string; stderr: string }>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, stdout, stderr }))
  })
}

describe('infernode convert', () => {
  it('writes a file that generates, and tells sizes on stderr', async () => {
    const out = join(await folderForTest(), 'out.gguf')
    const { code, stdout, stderr } = await infernode(['convert', llama, out, '--type', 'f16'])
    expect(code).toBe(0)
    expect(stdout).toMatch(/blk\.0\.attn_q\.weight\s+32 × 32\s+f32\s+f16/)
    expect(stderr).toContain('21 tensors')
    expect(stderr).toContain('note: there is no tokenizer.json')
    // Not a terminal: no bar, no colours.
    expect(stderr).not.toMatch(/[█\u001b]/)
    const inspected = JSON.parse((await infernode(['inspect', out, '--json'])).stdout)
    expect(inspected).toMatchObject({ architecture: 'llama', format: 'gguf' })
  })
})

describe('infernode quantize', () => {
  it('prints the report as JSON', async () => {
    const out = join(await folderForTest(), 'out.gguf')
    const { code, stdout } = await infernode(['quantize', llama, out, '--type', 'Q8_0', '--keep', 'output=f16', '--keep', 'blk.1.*', '--json'])
    expect(code).toBe(0)
    const { tensors, path } = JSON.parse(stdout)
    expect(path).toBe(out)
    const type = (name: string) => tensors.find((tensor: { name: string }) => tensor.name === name).to
    expect(['token_embd', 'output', 'blk.0.attn_q', 'blk.1.attn_q'].map((name) => type(`${name}.weight`))).toEqual(['q8_0', 'f16', 'q8_0', 'f32'])
  })

  it.each([
    [2, ['--type', 'q9_9'], 'expected one of f32'],
    [2, [], "required option '--type <type>'"],
    [2, ['--type', 'q8_0', '--keep', '=f16'], 'PATTERN=TYPE'],
    [2, ['--type', 'q8_0', '--keep', 'blk.9.*=f16'], 'patterns that match'],
    [2, ['--type', 'q8_0', '--threads', 'many'], 'a number'],
  ])('exits with %i for %j', async (expected, args, text) => {
    const folder = await folderForTest()
    const { code, stderr } = await infernode(['quantize', llama, join(folder, 'out.gguf'), ...args])
    expect(stderr).toContain(text)
    expect(code).toBe(expected)
    expect(await readdir(folder)).toEqual([])
  })

  it('replaces an output only with --force, quantizes again only with --allow-requantize', async () => {
    const out = join(await folderForTest(), 'out.gguf')
    expect((await infernode(['convert', llama, out])).code).toBe(0)
    const refused = await infernode(['quantize', embedded, out, '--type', 'f16'])
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('FILE_EXISTS') })
    const again = await infernode(['quantize', embedded, out, '--type', 'f16', '--force'])
    expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining('ALREADY_QUANTIZED') })
    const { code } = await infernode(['quantize', embedded, out, '--type', 'f16', '--force', '--allow-requantize'])
    expect(code).toBe(0)
  })

  it('removes what it wrote so far on Ctrl-C and exits with 130', async () => {
    const folder = await folderForTest()
    const out = join(folder, 'out.gguf')
    // Slow enough to be interrupted: as soon as the partial file is there.
    const args = ['quantize', embedded, out, '--type', 'f32', '--allow-requantize', '--threads', '1']
    const { code } = await infernode(args, (kill) => {
      const timer = setInterval(() => {
        if (!existsSync(`${out}.partial`)) return
        clearInterval(timer)
        kill('SIGINT')
      }, 1)
    })
    expect(code).toBe(130)
    expect(await readdir(folder)).toEqual([])
  })
})
