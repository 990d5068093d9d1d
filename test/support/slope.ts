/** Does a series of measurements grow? For leaks: memory after each of many equal rounds. */

export interface Slope {
  /** Growth over the rounds that were looked at, by the fitted line. */
  readonly growth: number
  /** The slope in units of its standard error. */
  readonly t: number
}

const blocks = 10

/**
 * Fits a line through the means of ten blocks of rounds; the first quarter of the rounds is left out, as caches and the heap's arenas
 * fill then. Means of blocks, because single measurements depend on their neighbours. Under no growth, t follows Student's
 * distribution with eight degrees of freedom.
 */
export function slopeOf(series: readonly number[]): Slope {
  const kept = series.slice(Math.ceil(series.length / 4))
  if (kept.length < blocks) throw new Error(`${series.length} rounds are too few`)
  const means = Array.from({ length: blocks }, (_, block) => {
    const part = kept.slice(Math.floor((block * kept.length) / blocks), Math.floor(((block + 1) * kept.length) / blocks))
    return part.reduce((sum, value) => sum + value, 0) / part.length
  })
  const centre = (blocks - 1) / 2
  const mean = means.reduce((sum, value) => sum + value, 0) / blocks
  let xx = 0
  let xy = 0
  means.forEach((value, i) => {
    xx += (i - centre) ** 2
    xy += (i - centre) * (value - mean)
  })
  const slope = xy / xx
  const residual = means.reduce((sum, value, i) => sum + (value - mean - slope * (i - centre)) ** 2, 0)
  const error = Math.sqrt(residual / (blocks - 2) / xx)
  return { growth: slope * blocks, t: error > 0 ? slope / error : slope === 0 ? 0 : Math.sign(slope) * Infinity }
}

/**
 * Whether it grows for certain: t > 4.5 has a chance of 0.1 % without growth; and by more than `noise`, as the heap takes memory
 * in steps of its own, and one step in the middle can look like a line.
 */
export function grows(series: readonly number[], noise: number): boolean {
  const { growth, t } = slopeOf(series)
  return t > 4.5 && growth > noise
}
