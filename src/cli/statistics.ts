/** What repeated measurements say together. */

export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

/** Between the two nearest values where q falls between them; 0 of no values. */
export function quantile(values: readonly number[], q: number): number {
  if (values.length === 0) return 0
  const sorted = [...values].sort((a, b) => a - b)
  const at = q * (sorted.length - 1)
  const [low, high] = [sorted[Math.floor(at)]!, sorted[Math.ceil(at)]!]
  return low + (high - low) * (at - Math.floor(at))
}
