/** Shapes: what they are at run time, and what the type checker knows of them. */

/** Sizes of the dimensions, outermost first: at most 8. A scalar has none. */
export type Shape = readonly number[]

/** Whether every dimension is known as a literal. */
type Known<S extends Shape> = number extends S['length'] ? false : number extends S[number] ? false : true

/** A dimension after broadcasting, or never where the two do not fit. */
type BroadcastDim<A extends number, B extends number> = number extends A
  ? B extends 1
    ? number
    : number extends B
      ? number
      : B
  : number extends B
    ? A extends 1
      ? number
      : A
    : A extends B
      ? A
      : A extends 1
        ? B
        : B extends 1
          ? A
          : never

type BroadcastFrom<A extends Shape, B extends Shape, Done extends Shape = readonly []> = A extends readonly [
  ...infer A0 extends Shape,
  infer AN extends number,
]
  ? B extends readonly [...infer B0 extends Shape, infer BN extends number]
    ? [BroadcastDim<AN, BN>] extends [never]
      ? never
      : BroadcastFrom<A0, B0, readonly [BroadcastDim<AN, BN>, ...Done]>
    : readonly [...A, ...Done]
  : readonly [...B, ...Done]

/** The shape of an elementwise result: right-aligned, dimensions are equal or 1. `never` where the shapes cannot fit. */
export type Broadcast<A extends Shape, B extends Shape> = number extends A['length']
  ? Shape
  : number extends B['length']
    ? Shape
    : BroadcastFrom<A, B>

/** The last two dimensions exchanged. */
export type Transposed<S extends Shape> = number extends S['length']
  ? Shape
  : S extends readonly [...infer Front extends Shape, infer M extends number, infer N extends number]
    ? readonly [...Front, N, M]
    : never

/** Dimensions in another order. */
export type Permuted<S extends Shape, Axes extends Shape> = number extends S['length']
  ? Shape
  : number extends Axes['length']
    ? Shape
    : { readonly [I in keyof Axes]: Axes[I] extends keyof S & number ? S[Axes[I]] : number } extends infer R extends Shape
      ? R
      : Shape

type SameDim<A extends number, B extends number> = number extends A
  ? true
  : number extends B
    ? true
    : A extends B
      ? true
      : false

type MatmulOf<A extends Shape, B extends Shape> = A extends readonly [
  ...infer AFront extends Shape,
  infer M extends number,
  infer K extends number,
]
  ? B extends readonly [...infer BFront extends Shape, infer K2 extends number, infer N extends number]
    ? SameDim<K, K2> extends true
      ? [Broadcast<AFront, BFront>] extends [never]
        ? never
        : readonly [...Broadcast<AFront, BFront>, M, N]
      : never
    : never
  : never

/** [..., M, K] times [..., K, N], or times [..., N, K] where B is transposed. `never` where they do not fit. */
export type MatmulShape<A extends Shape, B extends Shape, TransposeB extends boolean> = number extends A['length']
  ? Shape
  : number extends B['length']
    ? Shape
    : boolean extends TransposeB
      ? Shape
      : TransposeB extends true
        ? MatmulOf<A, Transposed<B>>
        : MatmulOf<A, B>

/** What slice() takes of a dimension: all of it (null), [begin, end), or one index, which takes the dimension out. */
export type Range = null | number | readonly [begin: number, end: number]

/** The shape of a slice; ranges may be fewer than dimensions. */
export type Sliced<S extends Shape, R extends readonly Range[]> = number extends S['length']
  ? Shape
  : number extends R['length']
    ? Shape
    : S extends readonly [infer First extends number, ...infer Rest extends Shape]
      ? R extends readonly [infer Of, ...infer Others extends readonly Range[]]
        ? Of extends null
          ? readonly [First, ...Sliced<Rest, Others>]
          : Of extends number
            ? Sliced<Rest, Others>
            : readonly [number, ...Sliced<Rest, Others>]
        : readonly [...S]
      : readonly []

/** The shape that reshape() gives: -1 becomes a number that is not known. */
export type Reshaped<S extends Shape> =
  Known<S> extends true
    ? { readonly [I in keyof S]: S[I] extends -1 ? number : S[I] } extends infer R extends Shape
      ? R
      : Shape
    : S

/** Without the last dimension. */
export type WithoutLast<S extends Shape> = number extends S['length']
  ? Shape
  : S extends readonly [...infer Front extends Shape, number]
    ? Front
    : never

/** With another last dimension. */
export type WithLast<S extends Shape, N extends number> = number extends S['length']
  ? Shape
  : S extends readonly [...infer Front extends Shape, number]
    ? readonly [...Front, N]
    : never

export const maxRank = 8

export function sizeOf(shape: Shape): number {
  return shape.reduce((size, n) => size * n, 1)
}

/** Row-major: values of the last dimension lie side by side. */
export function stridesOf(shape: Shape): number[] {
  const strides: number[] = []
  let stride = 1
  for (let d = shape.length - 1; d >= 0; d--) {
    strides[d] = stride
    stride *= shape[d]!
  }
  return strides
}

/** The common shape of two that broadcast, or undefined. */
export function broadcastShape(a: Shape, b: Shape): number[] | undefined {
  const rank = Math.max(a.length, b.length)
  const shape: number[] = []
  for (let behind = 1; behind <= rank; behind++) {
    const x = a[a.length - behind] ?? 1
    const y = b[b.length - behind] ?? 1
    if (x !== y && x !== 1 && y !== 1) return undefined
    shape[rank - behind] = x === 1 ? y : x
  }
  return shape
}

/**
 * Strides of the same values under another shape, or undefined where they would have to be copied. Dimensions that lie one behind
 * the other are merged and cut anew.
 */
export function reshapedStrides(shape: Shape, strides: readonly number[], to: Shape): number[] | undefined {
  if (sizeOf(shape) === 0) return stridesOf(to)
  const runs: { n: number; stride: number }[] = [] // innermost first
  for (let d = shape.length - 1; d >= 0; d--) {
    const inner = runs.at(-1)
    if (shape[d] === 1) continue
    if (inner && strides[d] === inner.stride * inner.n) inner.n *= shape[d]!
    else runs.push({ n: shape[d]!, stride: strides[d]! })
  }
  const result: number[] = Array.from({ length: to.length }, () => 1)
  let run = runs.shift() ?? { n: 1, stride: 1 }
  for (let d = to.length - 1; d >= 0; d--) {
    if (to[d] === 1) continue
    if (run.n === 1) run = runs.shift()!
    if (run.n % to[d]! !== 0) return undefined
    result[d] = run.stride
    run = { n: run.n / to[d]!, stride: run.stride * to[d]! }
  }
  return result
}
