/** How much of a promise a run of the tests shows: `npm test` a little, `npm run test:promises` all of it. */

export const isFull = import.meta.env.MODE === 'full'

/** Repetitions: the first number with `npm test`, the second with `npm run test:promises`. */
export function count(brief: number, full: number): number {
  return isFull ? full : brief
}

/** Runs `work` for 0 … n - 1, at most `lanes` at a time. */
export async function inLanes<T>(n: number, lanes: number, work: (i: number) => Promise<T>): Promise<T[]> {
  const results: T[] = []
  let next = 0
  await Promise.all(
    Array.from({ length: Math.min(lanes, n) }, async () => {
      for (let i = next++; i < n; i = next++) results[i] = await work(i)
    }),
  )
  return results
}
