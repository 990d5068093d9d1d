/** What the engine takes from its process: the event loop's time, and memory, which it gives back. */
import { describe, expect, it } from 'vitest'
import { testModel } from '../support/checkpoints.js'
import { reportOf } from '../support/children.js'
import { count, isFull } from '../support/counts.js'
import { grows, slopeOf } from '../support/slope.js'

const slow = { timeout: count(120_000, 900_000) }
const child = { timeoutMs: count(100_000, 800_000), nodeArgs: ['--expose-gc'] }
const mega = 2 ** 20
/** By default glibc gives threads heaps of their own, which fill for hundreds of rounds, each at its own pace. */
const oneHeap = { MALLOC_ARENA_MAX: '1', MALLOC_TRIM_THRESHOLD_: '65536', MALLOC_MMAP_THRESHOLD_: '65536' }

describe('the event loop', () => {
  it('stays free from loading to disposing, and generation goes on while it is blocked for 2 s', slow, async () => {
    const rounds: { phases: { p99: number }[]; all: { p99: number; max: number }; blocked: { tokens: number; engineMs: number; deliveredAfterMs: number } }[] = []
    // The best of three rounds, and beside the delays of a process that does nothing: neighbours on the machine delay everybody. The
    // bound is generous; bench/event-loop.mjs measures.
    const excess = (): number => Math.min(...rounds.map(({ all, phases }) => all.p99 - 3 * phases[0]!.p99))
    for (let i = 0; i < 3 && !(excess() < 25); i++)
      rounds.push(await reportOf('../../../bench/event-loop', ['--model', 'embedded', '--quick', '--json']))
    expect(excess()).toBeLessThan(50)
    for (const { blocked } of rounds) {
      // By the engine's clock the story was over before the event loop was free again.
      expect(blocked.tokens).toBe(200)
      expect(blocked.engineMs).toBeLessThan(1900)
    }
  })
})

describe('memory', () => {
  it('does not grow over models loaded and disposed, nor over cancelled requests, and no handle stays', slow, async () => {
    const { cycles, cancelled, ...rest } = await reportOf<{
      cycles: number[]
      cancelled: number[]
      running: number
      waiting: number
      freePages: number
      totalPages: number
      left: string[]
    }>('memory', [count(60, 200), count(300, 2000)], { ...child, env: oneHeap })
    expect(rest).toEqual({ running: 0, waiting: 0, freePages: rest.totalPages, totalPages: rest.totalPages, left: [] })
    // Short runs end while V8's heap still settles.
    const noise = count(6, 2) * mega
    for (const [name, series] of Object.entries({ cycles, cancelled })) {
      const { growth, t } = slopeOf(series)
      const first = series[0]!
      const last = series.at(-1)!
      const text = `${name}: ${(growth / mega).toFixed(2)} MiB by the line, t = ${t.toFixed(1)}, from ${(first / mega).toFixed(1)} to ${(last / mega).toFixed(1)} MiB`
      if (isFull) console.log(text)
      expect(grows(series, noise), text).toBe(false)
    }
  })

  it.skipIf(process.platform !== 'linux')(
    'is given back by dispose(), and by the garbage collector without it',
    slow,
    async () => {
      expect(await reportOf('dropped', [], child)).toEqual({
        loaded: true,
        afterDispose: true,
        afterDrop: true,
        tokens: true,
        afterText: true,
        info: expect.any(String),
      })
    },
  )

  const gemma = testModel('gemma3-270m/gemma-3-270m.gguf', 'the memory that a real checkpoint takes')
  it.skipIf(!gemma)('of a real checkpoint is its file, the cache in use and little more; it loads at once', slow, async () => {
    const empty = await reportOf<{ rss: number }>('rss')
    const report = async () =>
      reportOf<{ loadMs: number; loadedRss: number; rss: number; bytes: number; stats: { kvBytesUsed: number } }>(
        'rss',
        [gemma!],
        child,
      )
    await report() // warms the page cache
    const { loadMs, rss, bytes, stats } = await report()
    expect((rss - empty.rss - bytes - stats.kvBytesUsed) / mega).toBeLessThanOrEqual(64)
    expect(loadMs).toBeLessThan(2000)
  })
})
