/** Threads and processes come and go: several isolates share one runtime, and a process ends as it was told to. */
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { describe, expect, it } from 'vitest'
import { reportOf, runChild, type Ended } from '../support/children.js'
import { count, inLanes } from '../support/counts.js'
import { randomNumbers } from '../support/engines.js'

const child = (name: string): URL => new URL(`./children/${name}.mjs`, import.meta.url)
const slow = { timeout: count(120_000, 1_200_000) }
/** Children at once: with more than there are cores, moments differ from those of a process alone. */
const lanes = 2

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

  it.skipIf(process.platform !== 'linux').each([true, false])(
    'that load the same file share its mapping and the threads (mmap: %s)',
    slow,
    async (mmap) => {
      interface State {
        threads: string[]
        mappings: number
      }
      const workers = 4
      const { alone, together, after, same } = await reportOf<{ alone: State; together: State; after: State; same: boolean }>(
        'shared',
        [workers, String(mmap)],
        { timeoutMs: 60_000 },
      )
      expect(same).toBe(true)
      expect(alone.threads).toEqual(['inf-driver', 'inf-loading', 'inf-requests', 'infernode'])
      expect(together.threads).toEqual(alone.threads)
      expect([alone.mappings, together.mappings, after.mappings]).toEqual(mmap ? [1, 1, 0] : [0, 0, 0])
      // That a file which is read is held once, test/native/failing_system_test.cc shows.
    },
  )

  it('may be terminated while they load or generate; others keep their texts, and nothing stays mapped', slow, async () => {
    const rounds = count(16, 200)
    const { code, signal, stdout, stderr } = await runChild('terminated-workers', [rounds], { timeoutMs: count(100_000, 600_000) })
    expect({ code, signal }, stderr).toEqual({ code: 7, signal: null })
    const { different, running, mappings, after } = JSON.parse(stdout)
    expect({ different, running, after }).toEqual({ different: 0, running: 0, after: false })
    if (mappings !== null) expect(mappings).toBe(1)
  })
})

describe('a process', () => {
  const next = randomNumbers(9)

  it('exits with its code at whatever moment: while it loads, in mid-generation, from a callback', slow, async () => {
    const n = count(20, 200)
    const runs = Array.from({ length: n }, (_, i) => ({ how: i % 5 === 4 ? 'exit inside' : 'exit', after: next(350), code: 3 + (i % 200) }))
    const ended = await inLanes(n, lanes, (i) => runChild('exit', [runs[i]!.how, runs[i]!.after, runs[i]!.code]))
    ended.forEach((end, i) => expect(end, `run ${i}: ${JSON.stringify(runs[i])}`).toMatchObject({ code: runs[i]!.code, signal: null, stderr: '' }))
  })

  it.each(['exit at load', 'worker', 'end'])('exits with its code: %s', slow, async (how) => {
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
    'ends by %s at whatever moment, also while it loads',
    slow,
    async (wanted) => {
      const n = count(10, 200)
      const moments = Array.from({ length: n }, () => next(400))
      const ended = await inLanes(n, lanes, (i) => killed(moments[i]!, wanted))
      ended.forEach((end, i) => expect(end, `after ${moments[i]} ms`).toMatchObject({ code: null, signal: wanted, stderr: '' }))
    },
  )
})

/** Counted from the moment that the child's own code runs. */
function killed(afterMs: number, signal: NodeJS.Signals): Promise<Ended> {
  let begun = false
  return runChild('exit', ['signal'], {
    onOutput(_, kill) {
      if (!begun) setTimeout(() => kill(signal), afterMs)
      begun = true
    },
  })
}
