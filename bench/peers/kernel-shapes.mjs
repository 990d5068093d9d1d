/** What bench/peers/kernels.mjs multiplies and attends to, the same on both sides. */

export const [m, n, k] = [512, 4096, 4096]
export const [heads, headDim, length] = [32, 128, 2048]
/** int8 products times these are what comes out in floats. */
export const scales = { a: 0.01, b: 0.02, out: 0.5 }

/** Uniform in [-1, 1). */
export function randomFloats(count, seed) {
  const next = randomBits(seed)
  return Float32Array.from({ length: count }, () => next() / 2 ** 31)
}

/** From -127 to 127. */
export function randomBytes(count, seed) {
  const next = randomBits(seed)
  return Int8Array.from({ length: count }, () => Math.round((next() / 2 ** 31) * 127))
}

function randomBits(seed) {
  let x = Math.imul(seed, 2654435761) | 1
  return () => {
    x ^= x << 13
    x ^= x >>> 17
    return (x ^= x << 5)
  }
}
