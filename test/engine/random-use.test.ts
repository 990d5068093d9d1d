/** Nothing that a caller passes or does ends the process: random calls from several workers, every outcome a value or an InfernodeError. */
import { describe, expect, it } from 'vitest'
import { reportOf } from '../support/children.js'
import { count } from '../support/counts.js'

describe('random use', () => {
  const seconds = count(8, 300)

  it('from several workers, some terminated, ends every call with a value or an InfernodeError', { timeout: 1000 * (seconds + 60) }, async () => {
    const seed = count(1, Date.now() % 2 ** 31)
    const { tally, started, terminated } = await reportOf<{ tally: Record<string, number>; started: number; terminated: number }>(
      'random-use',
      [seconds, seed, 3],
      { timeoutMs: 1000 * (seconds + 50) },
    )
    // It did what it is for; on a machine that is busy, less of it.
    for (const what of ['load', 'generate', 'score', 'encode', 'generate and leave']) expect(tally[what], `seed ${seed}: ${what}`).toBeGreaterThan(0)
    expect(Object.keys(tally).some((what) => what.includes('INVALID_ARGUMENT'))).toBe(true)
    expect(started).toBeGreaterThan(2)
    expect(terminated).toBeGreaterThan(0)
  })
})
