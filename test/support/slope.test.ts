/** The test for leaks finds leaks, and only leaks. */
import { describe, expect, it } from 'vitest'
import { randomNumbers } from './engines.js'
import { grows, slopeOf } from './slope.js'

const next = randomNumbers(3)
const noise = (): number => next(2_000_000) - 1_000_000
const rounds = (n: number, value: (i: number) => number): number[] => Array.from({ length: n }, (_, i) => value(i))

describe('the test for leaks', () => {
  it('finds 64 KiB a round in 200 rounds, under noise of 1 MB', () => {
    for (let run = 0; run < 50; run++) expect(grows(rounds(200, (i) => 1e8 + 65536 * i + noise()), 2 ** 20)).toBe(true)
  })

  it('finds nothing in noise, in warming up, in falling, in a constant', () => {
    let found = 0
    for (let run = 0; run < 500; run++) if (grows(rounds(200, () => 1e8 + noise()), 0)) found++
    expect(found).toBeLessThan(5)
    expect(grows(rounds(200, (i) => 1e8 + 5e7 * (1 - Math.exp(-i / 10)) + noise()), 2 ** 20)).toBe(false)
    expect(grows(rounds(200, (i) => 1e8 - 65536 * i), 0)).toBe(false)
    expect(grows(rounds(200, () => 1e8), 0)).toBe(false)
  })

  it('measures the growth of a line', () => {
    const { growth, t } = slopeOf(rounds(400, (i) => 1000 * i))
    expect(growth).toBeCloseTo(300_000, -1)
    expect(t).toBeGreaterThan(1e6)
  })
})
