/** What the engine takes from its process: the event loop's time, and memory, which it gives back. */
import { describe, expect, it } from 'vitest'
import { testModel } from '../support/checkpoints.js'
import { reportOf } from '../support/children.js'

const slow = { timeout: 120_000 }
const child = { timeoutMs: 100_000, nodeArgs: ['--expose-gc'] }
const mega = 2 ** 20

describe('the event loop', () => {
  it('stays free while 8 callers generate, and generation goes on while it is blocked', slow, async () => {
    const report = await reportOf<{
      delays: number[]
      ended: boolean
      timings: { promptMs: number; generationMs: number }
      tokens: number
      finishReason: string
    }>('event-loop', [], child)
    // The best of three rounds: neighbours on the machine delay everybody.
    expect(Math.min(...report.delays)).toBeLessThan(50)
    expect(report).toMatchObject({ ended: true, finishReason: expect.stringMatching(/stop|length/) })
    expect(report.timings.promptMs + report.timings.generationMs).toBeLessThan(1000)
  })
})

describe('memory', () => {
  it('does not grow over 60 loaded and disposed models, nor over 300 cancelled requests', slow, async () => {
    const report = await reportOf<{
      cycles: number[]
      cancelled: number[]
      running: number
      freePages: number
      totalPages: number
    }>('memory', [], child)
    const { cycles, cancelled, running, freePages, totalPages } = report
    expect((cycles[1]! - cycles[0]!) / mega).toBeLessThan(20)
    expect((cancelled[1]! - cancelled[0]!) / mega).toBeLessThan(20)
    expect({ running, freePages }).toEqual({ running: 0, freePages: totalPages })
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
