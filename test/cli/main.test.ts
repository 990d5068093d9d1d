/** The command line as a user runs it: a process, its two outputs and its exit code. Needs `npm run build`. */
import { spawn, type ChildProcess } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { KernelRow } from '../../src/cli/bench-kernels.js'
import type { MachinePeaks } from '../../src/index.js'
import { ggufWithTemplate } from '../support/chat-checkpoint.js'
import { folderForTest } from '../support/models.js'

const main = join(import.meta.dirname, '../../dist/cli/main.js')

interface Run {
  code: number | null
  stdout: string
  stderr: string
}

function start(args: string[], env: Record<string, string> = {}): ChildProcess {
  return spawn(process.execPath, [main, ...args], { env: { ...process.env, ...env } })
}

function finished(child: ChildProcess): Promise<Run> {
  let [stdout, stderr] = ['', '']
  child.stdout!.setEncoding('utf8').on('data', (text) => (stdout += text))
  child.stderr!.setEncoding('utf8').on('data', (text) => (stderr += text))
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, stdout, stderr }))
  })
}

async function infernode(args: string[], { stdin = '', env = {} } = {}): Promise<Run> {
  const child = start(args, env)
  const run = finished(child)
  child.stdin!.on('error', () => {}).end(stdin)
  return run
}

const greedy = ['--temperature', '0', '--max-tokens', '12']

describe('infernode', () => {
  it('prints help with examples and its version', async () => {
    const help = await infernode(['--help'])
    expect(help).toMatchObject({ code: 0, stderr: '' })
    for (const word of ['generate', 'chat', 'inspect', 'tokenize', 'perplexity', 'quantize', 'convert', 'bench', 'info', 'Examples:', 'Exit codes:'])
      expect(help.stdout).toContain(word)
    const { version } = JSON.parse(await readFile(join(import.meta.dirname, '../../package.json'), 'utf8')) as {
      version: string
    }
    expect((await infernode(['--version'])).stdout.trim()).toBe(version)
  })

  it.each(['generate', 'chat', 'inspect', 'tokenize', 'perplexity', 'quantize', 'convert', 'bench', 'info'])('explains %s with examples', async (command) => {
    const { code, stdout } = await infernode([command, '--help'])
    expect(code).toBe(0)
    expect(stdout).toContain('Examples:')
  })

  it.each([
    [[]],
    [['genrate', 'x']],
    [['generate']],
    [['generate', '--temprature', '1', 'x']],
    [['generate', '--temperature', 'warm', 'x']],
    [['generate', '--temperature', '-1', 'x']],
    [['generate', '--kv-type', 'f8', 'x']],
    [['generate', '--logprobs', '1', 'x']],
    [['perplexity']],
    [['inspect', '--graph', 'out.png']],
  ])('exits with 2 for the wrong usage %j, saying why on stderr', async (args) => {
    const { code, stdout, stderr } = await infernode(args)
    expect(stdout).toBe('')
    expect(stderr).not.toBe('')
    expect(code).toBe(2)
  })

  it('exits with 1 for a file that is not there, naming it', async () => {
    const { code, stdout, stderr } = await infernode(['generate', '--model', 'no-such.gguf', 'x'])
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toContain('no-such.gguf')
    expect(stderr).toContain('[FILE_UNREADABLE]')
  })
})

describe('infernode generate', () => {
  it('writes text to stdout and one line about how to stderr', async () => {
    const { code, stdout, stderr } = await infernode(['generate', ...greedy, 'Once upon a time'])
    expect(code).toBe(0)
    expect(stdout).toMatch(/^, and the .*\n$/)
    expect(stderr.trim().split('\n')).toHaveLength(1)
    expect(stderr).toMatch(
      /fairy.* · backend cpu · isa \w+ · \d+ threads? · prompt 6 tokens at [\d.]+ tokens\/s · generation 12 tokens at/,
    )
    expect(stderr).not.toContain('\u001b') // no colour, no progress: it is no terminal
  })

  it('takes a number of threads of their own for prompts, and writes the same', async () => {
    const plain = await infernode(['generate', ...greedy, 'Once upon a time'])
    const { code, stdout, stderr } = await infernode(['generate', '--threads', '1', '--prompt-threads', '2', ...greedy, 'Once upon a time'])
    expect({ code, stdout }).toEqual({ code: 0, stdout: plain.stdout })
    expect(stderr).toContain(' · 1 thread, 2 for prompts · ')
  })

  it('reads the prompt from stdin, is quiet if asked, and prints JSON', async () => {
    const fromStdin = await infernode(['generate', '-', '--quiet', ...greedy], { stdin: 'Once upon a time' })
    expect(fromStdin).toMatchObject({ code: 0, stderr: '' })
    const json = await infernode(['generate', '--json', '--logprobs', '1', '--quiet', ...greedy, 'Once upon a time'])
    const result = JSON.parse(json.stdout) as { text: string; logprobs: unknown[]; model: { isa: string }; seed: number }
    expect(`${result.text}\n`).toBe(fromStdin.stdout)
    expect(result.logprobs).toHaveLength(12)
    expect(result.model.isa).not.toBe('')
  })

  it('passes sampling options on', async () => {
    const args = ['generate', '-q', '--seed', '7', '-n', '20', 'Once']
    const [a, b] = await Promise.all([infernode(args), infernode(args)])
    expect(a.stdout).toBe(b.stdout)
    const echoed = await infernode([
      'generate',
      '-q',
      '--echo',
      ...greedy,
      '--stop',
      'and',
      '--logit-bias',
      '5=-Infinity',
      '--stop-tokens',
      '1,2',
      'Once upon a time',
    ])
    expect(echoed.code).toBe(0)
    expect(echoed.stdout).toContain('Once upon a time')
    expect(echoed.stdout).not.toContain(' and')
  })

  it('obeys INFERNODE_ISA and refuses one that does not exist', async () => {
    const scalar = await infernode(['generate', ...greedy, 'Once'], { env: { INFERNODE_ISA: 'scalar' } })
    expect(scalar.stderr).toContain('isa scalar')
    const unknown = await infernode(['generate', 'Once'], { env: { INFERNODE_ISA: 'mmx' } })
    expect(unknown.code).toBe(2)
    expect(unknown.stderr).toContain('mmx')
  })

  it.skipIf(process.platform === 'win32')('exits with 130 on Ctrl-C, after the text until then', async () => {
    const child = start(['generate', '--threads', '1', '--max-tokens', '500', '--logit-bias', '0=-Infinity', 'Once'], {
      INFERNODE_ISA: 'scalar',
    })
    const run = finished(child)
    child.stdout!.once('data', () => child.kill('SIGINT'))
    expect((await run).code).toBe(130)
  })

  it('ends quietly when the reader goes away', async () => {
    const child = start(['generate', '--max-tokens', '400', '--logit-bias', '0=-Infinity', 'Once'])
    let stderr = ''
    child.stderr!.setEncoding('utf8').on('data', (text) => (stderr += text))
    child.stdout!.once('data', () => child.stdout!.destroy())
    const code = await new Promise((resolve) => child.on('close', resolve))
    expect(code).toBe(0)
    expect(stderr).not.toContain('EPIPE')
  })
})

describe('infernode chat', () => {
  const options = ['--temperature', '0', '--max-tokens', '6']

  it('answers one line of stdin after the other, and keeps the conversation', async () => {
    const model = await ggufWithTemplate()
    const run = (stdin: string, more: string[] = []): Promise<Run> =>
      infernode(['chat', '--model', model, '--quiet', ...options, ...more], { stdin })
    const [one, two, again, other] = await Promise.all([
      run('A tale of a king\n'),
      run('A tale of a king\n\nAnd of a queen\n'),
      run('A tale of a king\n/clear\nA tale of a king'),
      run('A tale of a king\n/exit\nAnd of a queen\n', ['--system', 'Be sad.']),
    ])
    expect(one).toMatchObject({ code: 0, stderr: '' })
    expect(one.stdout).toMatch(/^.+\n$/s)
    expect(two.stdout.startsWith(one.stdout)).toBe(true)
    expect(two.stdout.length).toBeGreaterThan(one.stdout.length)
    expect(again.stdout).toBe(one.stdout + one.stdout)
    expect(other.code).toBe(0)
    expect(other.stdout).not.toBe(one.stdout)
  })

  it('shows model and speed on stderr, takes a template and its variables', async () => {
    const template = '{{ who }}: {{ messages[-1].content }}'
    const args = ['chat', ...options, '--template', template, '--var', 'who=King']
    const { code, stderr } = await infernode(args, { stdin: 'Hello' })
    expect(code).toBe(0)
    expect(stderr).toMatch(/fairytale.*\n.*tokens\/s/)
    expect((await infernode(['chat', '--var', 'x', '--template', 'x'])).code).toBe(2)
  })

  it('says what to do about a base model', async () => {
    const { code, stdout, stderr } = await infernode(['chat'], { stdin: 'Hello' })
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toContain('[CHAT_TEMPLATE_MISSING]')
  })

  it.skipIf(process.platform === 'win32')('stops an answer on Ctrl-C and leaves on the second', async () => {
    const model = await ggufWithTemplate()
    const args = ['chat', '--model', model, '--quiet', '--threads', '1', '--max-tokens', '450', '--logit-bias', '0=-Infinity']
    const child = start(args, { INFERNODE_ISA: 'scalar' })
    const run = finished(child)
    child.stdin!.write('Once\n')
    await new Promise((resolve) => child.stdout!.once('data', resolve))
    child.kill('SIGINT')
    // The answer's line ends, and the next turn is answered.
    await new Promise<void>((resolve) => {
      child.stdout!.on('data', (text: string) => text.endsWith('\n') && resolve())
    })
    child.stdin!.write('Twice\n')
    await new Promise((resolve) => child.stdout!.once('data', resolve))
    child.kill('SIGINT')
    await new Promise((resolve) => setTimeout(resolve, 300))
    child.kill('SIGINT')
    expect((await run).code).toBe(130)
  })
})

describe('infernode tokenize', () => {
  it('shows which of two texts a token is of, and control tokens only where they are asked for', async () => {
    const { stdout } = await infernode(['tokenize', '--json', 'Once', '--pair', 'upon'])
    const { pieces, sequenceIds, typeIds, offsets } = JSON.parse(stdout)
    expect(pieces[0]).toBe('<|endoftext|>')
    expect(new Set(sequenceIds)).toEqual(new Set([-1, 0, 1]))
    expect(typeIds).toHaveLength(pieces.length)
    expect(offsets.at(-1)[1]).toBe(4)
    const table = await infernode(['tokenize', 'Once', '--pair', 'upon'])
    expect(table.stdout).toMatch(/ B +0–/)
    const count = async (...flags: string[]) =>
      JSON.parse((await infernode(['tokenize', '--json', '--no-add-special', ...flags, '<|endoftext|>'])).stdout).ids.length
    expect(await count()).toBeGreaterThan(1)
    expect(await count('--parse-special')).toBe(1)
  })

  it('prints tokens for people and for scripts', async () => {
    const table = await infernode(['tokenize', 'Once upon a time'])
    expect(table.stdout).toContain('1798')
    const { stdout } = await infernode(['tokenize', '--json', '--no-add-special', 'Once upon a time'])
    const { ids, pieces, offsets } = JSON.parse(stdout) as { ids: number[]; pieces: string[]; offsets: number[][] }
    expect(ids).toEqual([1798, 323, 646, 259, 546])
    expect(pieces).toHaveLength(5)
    expect(offsets[0]).toEqual([0, 2])
    expect(offsets.at(-1)![1]).toBe(16)
  })
})

describe('infernode perplexity', () => {
  const text = 'Once upon a time there was a king who had a daughter. '.repeat(30)

  it('scores a text that fits in one context, and a longer one in windows', async () => {
    const folder = await folderForTest()
    const [short, long] = [join(folder, 'short.txt'), join(folder, 'long.txt')]
    await Promise.all([writeFile(short, text.slice(0, 200)), writeFile(long, text)])
    const one = JSON.parse((await infernode(['perplexity', '--json', short])).stdout) as Perplexity
    expect(one).toMatchObject({ windows: 1, stride: null })
    expect(one.nll).toHaveLength(one.tokens)
    expect(one.perplexity).toBeCloseTo(Math.exp(one.meanNll), 8)
    const windows = JSON.parse(
      (await infernode(['perplexity', '--json', '--context', '128', '--stride', '64', long])).stdout,
    ) as Perplexity
    expect(windows.windows).toBeGreaterThan(2)
    expect(windows.nll).toHaveLength(windows.tokens)
    const people = await infernode(['perplexity', short])
    expect(people.stdout).toContain(`perplexity ${one.perplexity.toFixed(4)}`)
    expect(people.stdout).toContain('one context')
  })

  it('scores ids the same as the text that they come from', async () => {
    const folder = await folderForTest()
    const [file, idFile] = [join(folder, 'text.txt'), join(folder, 'ids.json')]
    await writeFile(file, text.slice(0, 100))
    const { ids } = JSON.parse((await infernode(['tokenize', '--json', text.slice(0, 100)])).stdout) as { ids: number[] }
    await writeFile(idFile, JSON.stringify({ ids }))
    const [fromText, fromIds] = await Promise.all([
      infernode(['perplexity', '--json', file]),
      infernode(['perplexity', '--json', '--ids', idFile]),
    ])
    expect(fromIds.stdout).toBe(fromText.stdout)
    await writeFile(idFile, '{"ids": ["x"]}')
    expect(await infernode(['perplexity', '--ids', idFile])).toMatchObject({ code: 2 })
  })

  interface Perplexity {
    perplexity: number
    tokens: number
    nll: number[]
    meanNll: number
    windows: number
    stride: number | null
  }
})

describe('infernode inspect', () => {
  it('shows config, tokenizer and tensors, the plan, and everything as JSON', async () => {
    const { code, stdout } = await infernode(['inspect'])
    expect(code).toBe(0)
    for (const word of ['llama', 'q8_0', '512 positions', 'model.embed_tokens', 'tokenizer.ggml.model', 'Tensors', 'Config'])
      expect(stdout).toContain(word)
    expect((await infernode(['inspect', '--plan'])).stdout).toContain('linear')
    const json = JSON.parse((await infernode(['inspect', '--json'])).stdout) as {
      plan: { steps: unknown[] }
      tensors: unknown[]
    }
    expect(json.plan.steps.length).toBeGreaterThan(10)
    expect(json.tensors.length).toBeGreaterThan(10)
  })

  it('draws the plan as SVG and as one HTML page', async () => {
    const folder = await folderForTest()
    for (const [name, start] of [
      ['plan.svg', '<svg'],
      ['plan.html', '<!doctype html'],
    ] as const) {
      const run = await infernode(['inspect', '--graph', join(folder, name)])
      expect(run.code).toBe(0)
      const drawn = await readFile(join(folder, name), 'utf8')
      expect(drawn.slice(0, 200).toLowerCase()).toContain(start)
      expect(drawn).not.toMatch(/(src|href)="https?:/) // nothing is fetched when it is opened
    }
  })
})

describe('infernode info and bench', () => {
  it('says what runs and why', async () => {
    const { stdout } = await infernode(['info'])
    for (const word of ['version', 'backend', 'isa', 'threads']) expect(stdout).toContain(word)
    const info = JSON.parse((await infernode(['info', '--json'])).stdout) as Record<string, unknown>
    expect(info).toMatchObject({
      backend: 'cpu',
      isa: expect.any(String),
      isas: expect.any(Array),
      threadsReason: expect.any(String),
      tensorTypes: {
        integer: expect.arrayContaining(['q8_0', 'q4_k', 'mxfp4']),
        float: ['f32', 'f16', 'bf16'],
        decoded: expect.arrayContaining(['iq2_xxs', 'tq1_0', 'nvfp4']),
      },
    })
  })

  it('measures speed beside the limits of the machine', async () => {
    const { code, stdout } = await infernode(['bench', '--json', '--repeat', '1', '--tokens', '16', '--prompt-tokens', '64'])
    expect(code).toBe(0)
    const { prompt, generation, machine } = JSON.parse(stdout) as Record<string, Record<string, number>>
    for (const value of [
      prompt!.tokensPerSecond,
      prompt!.shareOfInt8Peak,
      generation!.tokensPerSecond,
      generation!.shareOfReadBandwidth,
      machine!.readBytesPerSecond,
    ]) {
      expect(value).toBeGreaterThan(0)
    }
  })

  it('measures every op of a model of a real shape, and draws them', async () => {
    const svg = join(await folderForTest(), 'roofline.svg')
    const flags = ['--shape', 'gemma-3-270m', '--type', 'q4_0,bf16', '--tokens', '1,4', '--positions', '70', '--repeat', '1']
    const { code, stdout } = await infernode(['bench', 'kernels', ...flags, '--svg', svg, '--json'])
    expect(code).toBe(0)
    const { rows, peaks } = JSON.parse(stdout) as { rows: KernelRow[]; peaks: Record<string, MachinePeaks> }
    expect(Object.values(peaks)[0]!.readBytesPerSecond).toBeGreaterThan(0)
    for (const type of ['q4_0', 'bf16'])
      for (const tokens of [1, 4]) {
        const found = rows.filter((row) => row.op === 'linear' && row.type === type && row.tokens === tokens)
        expect(found.map(({ shape }) => shape)).toEqual(expect.arrayContaining(['2048×640 + 2048×640', '640×2048']))
        for (const row of found) {
          // Two operations per weight and token; what goes in and out is read and written, too.
          expect(row.opsPerByte).toBeLessThanOrEqual((2 * tokens) / (type === 'q4_0' ? 18 / 32 : 2))
          expect(row.opsPerByte * row.gigabytesPerSecond).toBeCloseTo(row.gigaopsPerSecond, 3)
          expect(row.p10).toBeLessThanOrEqual(row.microseconds)
          expect(row.p90).toBeGreaterThanOrEqual(row.microseconds)
        }
        expect(rows.some((row) => row.op === 'attention' && row.tokens === tokens && row.gigaopsPerSecond > 0)).toBe(true)
      }
    const drawing = await readFile(svg, 'utf8')
    expect(drawing).toMatch(/^<svg [^>]*xmlns=/)
    expect(drawing.match(/<title>/g)).toHaveLength(rows.filter((row) => row.gigaopsPerSecond > 0).length)
    expect(drawing).not.toMatch(/NaN|undefined|Infinity/)
  })

  it('measures matrices whose rows a type does not divide in the type that takes its place', async () => {
    const flags = ['--shape', 'gemma-3-270m', '--type', 'q3_k', '--tokens', '1', '--positions', '2', '--repeat', '1', '--json']
    const { code, stdout } = await infernode(['bench', 'kernels', ...flags])
    expect(code).toBe(0)
    const { rows } = JSON.parse(stdout) as { rows: KernelRow[] }
    const types = new Map(rows.filter(({ op }) => op === 'linear').map(({ shape, type }) => [shape, type]))
    expect(types.get('640×2048')).toBe('q3_k')
    expect(types.get('2048×640 + 2048×640')).toBe('q4_0')
  })

  it('lists the rows of the comparison with others without installing them', async () => {
    const { code, stdout } = await infernode(['bench', 'peers', '--', '--list'])
    expect(code).toBe(0)
    expect(stdout).toContain('q8_0 prompt 512\n')
  })

  it('refuses shapes, types and counts that are not there', async () => {
    for (const [flag, value] of [['--shape', 'llama-9'], ['--type', 'q9'], ['--isa', 'mmx'], ['--tokens', '0'], ['--tokens', '513'], ['--repeat', '0.5']]) {
      const { code, stderr } = await infernode(['bench', 'kernels', flag!, value!])
      expect(code).toBe(2)
      expect(stderr).toContain(flag)
    }
  })
})
