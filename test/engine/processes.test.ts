/** Threads and processes come and go: several isolates share one runtime, and a process ends as it was told to. */
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { describe, expect, it } from 'vitest'
import { runChild } from '../support/children.js'
import { randomNumbers } from '../support/engines.js'

const child = (name: string): URL => new URL(`./children/${name}.mjs`, import.meta.url)
const slow = { timeout: 120_000 }

describe('worker threads', () => {
  it('load and generate in two workers at once, with the same tokens', slow, async () => {
    const tokensOf = async (workerData: object): Promise<number[][]> => {
      const worker = new Worker(child('same-tokens'), { workerData })
      const ended = once(worker, 'exit')
      let tokens: number[][] = []
      worker.on('message', (message) => {
        if (message !== 'loaded') tokens = message
      })
      expect(await ended).toEqual([0])
      return tokens
    }
    const seeds = [1, 2, 3, 4]
    const [first, second] = await Promise.all([
      tokensOf({ seeds, threads: 2, dispose: true }),
      // Ends with its model alive.
      tokensOf({ seeds, threads: 1, dispose: false }),
    ])
    expect(first.map((tokens) => tokens.length > 0)).toEqual(seeds.map(() => true))
    expect(second).toEqual(first)
    expect(await tokensOf({ seeds, threads: 2, dispose: false })).toEqual(first)
  })

  it('may be terminated while they load or generate; others keep their texts, and nothing stays mapped', slow, async () => {
    const { code, signal, stdout, stderr } = await runChild('terminated-workers', [12], { timeoutMs: 100_000 })
    expect({ code, signal }, stderr).toEqual({ code: 7, signal: null })
    const { different, running, mappings, after } = JSON.parse(stdout)
    expect({ different, running, after }).toEqual({ different: 0, running: 0, after: false })
    if (mappings !== null) expect(mappings).toBe(1)
  })
})

describe('a process', () => {
  const next = randomNumbers(9)

  it('exits with its code in mid-generation, at whatever moment', slow, async () => {
    for (let i = 0; i < 15; i++) {
      const ended = await runChild('exit', ['exit', 30 + next(250), 40 + i])
      expect(ended, `run ${i}`).toMatchObject({ code: 40 + i, signal: null, stderr: '' })
    }
  })

  it.each(['exit inside', 'exit at load', 'worker', 'end'])('exits with its code: %s', slow, async (how) => {
    for (let i = 0; i < 3; i++) {
      const ended = await runChild('exit', [how, 150 + next(200), 60 + i])
      expect(ended, `run ${i}`).toMatchObject({ code: 60 + i, signal: null, stderr: '' })
    }
  })

  it('ends with 1 by an uncaught exception', slow, async () => {
    const ended = await runChild('exit', ['throw', 50])
    expect(ended).toMatchObject({ code: 1, signal: null, stderr: expect.stringContaining('on purpose') })
  })

  it.skipIf(process.platform === 'win32').each(['SIGTERM', 'SIGINT'] as const)(
    'ends by %s in mid-generation',
    slow,
    async (wanted) => {
      for (let i = 0; i < 3; i++) {
        const ended = await runChild('exit', ['signal'], {
          onOutput: (_, kill) => void setTimeout(() => kill(wanted), next(100)),
        })
        expect(ended, `run ${i}`).toMatchObject({ code: null, signal: wanted, stderr: '' })
      }
    },
  )
})
