/** Tensor: the kernels that models use, for everyone. */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { InfernodeError } from './errors.js'
import { aborted, checkOptions, invalid } from './options.js'
import {
  attentionRules,
  checkArray,
  checkComparison,
  checkDType,
  checkNumber,
  checkPlain,
  checkUnary,
  dtypeRules,
  geluRules,
  int8Rules,
  isDetached,
  keepDimsRules,
  matmulRules,
  normalRules,
  normRules,
  randomRules,
  reduceRules,
  ropeRules,
  runRules,
  seedOr,
  transferred,
  transposeRules,
} from './tensor/arguments.js'
import {
  type ArithmeticOp,
  attentionCall,
  binaryCall,
  checkBlocks,
  checkShape,
  type ComparisonOp,
  convertCall,
  embeddingCall,
  int8MatmulCall,
  type Int8MatmulScales,
  matmulCall,
  normCall,
  permutedView,
  reduceCall,
  type ReductionOp,
  type RopeOptions as RopeCallOptions,
  ropeCall,
  softmaxCall,
  topKCall,
  unaryCall,
  type UnaryOp,
  whereCall,
} from './tensor/calls.js'
import {
  arrayConstructor,
  type ArrayOf,
  type BlockDType,
  bytesOf,
  type DType,
  type DTypeOf,
  type FloatDType,
  fromHalf,
  isPlain,
  numberOf,
  type PlainDType,
} from './tensor/dtypes.js'
import { print } from './tensor/print.js'
import type { Broadcast, MatmulShape, Permuted, Range, Reshaped, Shape, Sliced, Transposed, WithLast } from './tensor/shapes.js'
import { maxRank, reshapedStrides, sizeOf } from './tensor/shapes.js'
import {
  type Call,
  checked,
  isContiguous,
  mismatch,
  named,
  newView,
  run,
  type RunOptions,
  runSync,
  tensors,
  type View,
  viewOf,
} from './tensor/view.js'

/** What a parameter must be beside its type: nothing, or something that no tensor is, where the shapes do not fit. */
type Fits<Result, Message extends string> = [Result] extends [never] ? { readonly theShapesDoNotFit: Message } : unknown

export type TensorOptions = RunOptions

export interface ReduceOptions extends RunOptions {
  /** Leave reduced dimensions as 1. Default false. */
  keepDims?: boolean
}

export interface MatmulOptions<T extends boolean = boolean> extends RunOptions {
  /** The right matrix is [..., N, K], as weights are stored. Needed for quantized ones. Default false. */
  transposeB?: T
}

export interface NormOptions extends RunOptions {
  /** Default 1e-5. */
  eps?: number
}

export interface RopeOptions extends Omit<RopeCallOptions, 'positions'>, RunOptions {
  /** Positions of the rows: i32, [T] or anything that broadcasts to [..., T]. Default: start, start + 1, … */
  positions?: Tensor<'i32'>
}

export interface AttentionOptions extends RunOptions {
  /** A query sees the keys up to its own position; the last query is at the last key. Default true. */
  causal?: boolean
  /** A query sees this many keys: its own and those before (without `causal`, as many after). Default 0: all. */
  window?: number
  /** Scores are multiplied by it. Default 1 / √headDim. */
  scale?: number
  /** Scores s become softcap · tanh(s / softcap). Default 0: they do not. */
  softcap?: number
  /** Keys of each entry of the batch, from the first; what lies behind is not looked at. Default: all. */
  lengths?: readonly number[]
  /** What broadcasts to [B, H, T, S]: bool (true: may be seen) or floats that are added to the scores. */
  mask?: Tensor<'bool'> | Tensor<FloatDType>
}

export interface RandomOptions {
  /** The same seed gives the same values on every machine. Default: chosen. */
  seed?: number
}

/** Numbers in arrays, as deep as the tensor has dimensions. */
export type Nested = number | boolean | readonly Nested[]

/** Bytes that are copied at once between turns of the event loop. */
const sliceBytes = 4 << 20
const maxSyncReadBytes = 4 << 20

/** Its text is what structuredClone says of it. */
const cannotBeCloned = function Tensor(): void {
  /* post its read() */
}

/**
 * Numbers in native memory: `dtype` says how they are stored, `shape` how they are arranged. A tensor never changes. Operations
 * give new tensors; reshape, slice and transpose give views of the same memory. Asynchronous operations run on the engine's threads
 * and hold what they read, so a tensor may be disposed while they run.
 *
 * Memory is freed by `dispose()` (of the last view), or by the garbage collector. Mistakes are InfernodeErrors: TENSOR_MISMATCH (both
 * shapes are in the text), INVALID_ARGUMENT, DISPOSED, OUT_OF_MEMORY, ABORTED; synchronous calls also TOO_LARGE_FOR_SYNC and
 * TENSOR_PENDING. docs/tensor.md tells limits and guarantees.
 */
export class Tensor<out D extends DType = DType, out S extends Shape = Shape> {
  readonly dtype: D
  /** Sizes of the dimensions, outermost first. */
  readonly shape: S
  readonly #view: View
  #disposed = false

  private constructor(view: View) {
    this.dtype = view.dtype as D
    this.shape = Object.freeze([...view.shape]) as unknown as S
    this.#view = view
    view.storage.users++
    // structuredClone and postMessage copy objects by their own properties, which would give an empty one: this one refuses.
    Object.defineProperty(this, 'postMessage', { value: cannotBeCloned, enumerable: true })
  }

  // ---- Creation

  /**
   * A tensor with a copy of the array's values. Without a shape it has one dimension. The dtype is the array's own (Float32Array f32,
   * Int32Array i32, Int8Array i8, Uint8Array u8); name f16 or bf16 for a Uint16Array of bits, bool or a block type for a Uint8Array.
   */
  static copyOf<A extends Float32Array | Int32Array | Int8Array | Uint8Array>(array: A): Tensor<DTypeOf<A>, readonly [number]>
  static copyOf<A extends Float32Array | Int32Array | Int8Array | Uint8Array, const T extends Shape>(
    array: A,
    shape: T,
  ): Tensor<DTypeOf<A>, T>
  static copyOf<const T extends Shape, E extends DType>(array: ArrayOf<E>, shape: T, dtype: E): Tensor<E, T>
  static copyOf(array: ArrayBufferView, shape?: Shape, dtype?: DType): Tensor {
    const given = checkArray(array, shape, dtype)
    return new Tensor(viewOf(given.array, given.dtype, given.shape))
  }

  /**
   * A tensor that takes over the array's memory without a copy. The array and every other view of its ArrayBuffer are detached.
   * Shared memory and memory of WebAssembly cannot be adopted.
   */
  static adopt<A extends Float32Array | Int32Array | Int8Array | Uint8Array>(array: A): Tensor<DTypeOf<A>, readonly [number]>
  static adopt<A extends Float32Array | Int32Array | Int8Array | Uint8Array, const T extends Shape>(
    array: A,
    shape: T,
  ): Tensor<DTypeOf<A>, T>
  static adopt<const T extends Shape, E extends DType>(array: ArrayOf<E>, shape: T, dtype: E): Tensor<E, T>
  static adopt(array: ArrayBufferView, shape?: Shape, dtype?: DType): Tensor {
    const given = checkArray(array, shape, dtype)
    const { byteOffset, byteLength } = given.array
    const ours = transferred(given.array)
    return new Tensor(
      newView(
        checked(() => tensors().adopt(ours, byteOffset, byteLength)),
        given.dtype,
        given.shape,
      ),
    )
  }

  /** A tensor of nested arrays of numbers; f32 unless another dtype is named. */
  static from<E extends PlainDType = 'f32'>(values: Nested, options: { dtype?: E } = {}): Tensor<E> {
    const shape: number[] = []
    for (let v = values; Array.isArray(v) && shape.length <= maxRank; v = v[0] as Nested) shape.push(v.length)
    checkShape(shape, 'values')
    const flat = new Float64Array(sizeOf(shape))
    let next = 0
    const read = (v: Nested, depth: number): void => {
      if (depth === shape.length) {
        if (typeof v !== 'number' && typeof v !== 'boolean') throw invalid('values', 'a number at every place', v)
        flat[next++] = Number(v)
      } else {
        if (!Array.isArray(v) || v.length !== shape[depth])
          throw invalid('values', `arrays of ${shape[depth]} at depth ${depth}`, v)
        for (const part of v as readonly Nested[]) read(part, depth + 1)
      }
    }
    read(values, 0)
    const plain = checkPlain(checkOptions(options, dtypeRules).dtype ?? 'f32')
    const half = plain === 'f16' || plain === 'bf16'
    const array = half
      ? Float32Array.from(flat)
      : plain === 'bool'
        ? Uint8Array.from(flat, (v) => Number(v !== 0))
        : arrayConstructor(plain).from(flat)
    const view = viewOf(array, half ? 'f32' : plain, shape)
    return new Tensor(half ? runSyncOrThrow(convertCall('from', view, plain)) : view)
  }

  static zeros<const T extends Shape, E extends DType = 'f32'>(shape: T, options: { dtype?: E } = {}): Tensor<E, Reshaped<T>> {
    const { dtype = 'f32' } = checkOptions(options, dtypeRules)
    const view = newViewOf(checkDType(dtype), checkShape(shape))
    return new Tensor(view)
  }

  static full<const T extends Shape, E extends PlainDType = 'f32'>(
    shape: T,
    value: number,
    options: { dtype?: E } = {},
  ): Tensor<E, Reshaped<T>> {
    return create(shape, checkOptions(options, dtypeRules).dtype, 0, checkNumber('value', value), 0, 0)
  }

  /** start, start + step, … below end (above it, if step is negative). One argument counts from 0. */
  static arange<E extends PlainDType = 'f32'>(
    start: number,
    end?: number,
    step = 1,
    options: { dtype?: E } = {},
  ): Tensor<E, readonly [number]> {
    const [from, to] = end === undefined ? [0, start] : [start, end]
    if (typeof step !== 'number' || !Number.isFinite(step) || step === 0)
      throw invalid('step', 'a finite number that is not 0', step)
    const n = Math.max(0, Math.ceil((checkNumber('end', to) - checkNumber('start', from)) / step))
    return create([n], checkOptions(options, dtypeRules).dtype, 1, from, step, 0)
  }

  /** Uniform in [low, high), 24 bits of randomness; a function of (seed, index) alone. Default: f32 in [0, 1). */
  static random<const T extends Shape, E extends PlainDType = 'f32'>(
    shape: T,
    options: RandomOptions & { low?: number; high?: number; dtype?: E } = {},
  ): Tensor<E, Reshaped<T>> {
    const { low = 0, high = 1, dtype, seed } = checkOptions(options, randomRules)
    return create(shape, dtype, 2, low, high, seedOr(seed))
  }

  /** Normally distributed; a function of (seed, index) alone. Default: mean 0, deviation 1. */
  static randomNormal<const T extends Shape, E extends FloatDType = 'f32'>(
    shape: T,
    options: RandomOptions & { mean?: number; deviation?: number; dtype?: E } = {},
  ): Tensor<E, Reshaped<T>> {
    const { mean = 0, deviation = 1, dtype, seed } = checkOptions(options, normalRules)
    return create(shape, dtype, 3, mean, deviation, seedOr(seed))
  }

  /** @internal */
  static make(dtype: PlainDType, shape: Shape, fill: number, first: number, second: number, seed: number): Tensor {
    const storage = checked(() => tensors().create(numberOf(dtype), shape, fill, first, second, seed))
    return new Tensor(newView(storage, dtype, shape))
  }

  // ---- What it is

  /** How many values. */
  get size(): number {
    return sizeOf(this.shape)
  }

  get rank(): S['length'] {
    return this.shape.length
  }

  get disposed(): boolean {
    return this.#disposed
  }

  /** Whether its values lie side by side in row-major order. */
  get isContiguous(): boolean {
    return isContiguous(this.#view)
  }

  // ---- Views: no copy, no waiting

  /** The same values in another shape; one size may be -1. Values that do not lie side by side must be made contiguous() first. */
  reshape<const T extends Shape>(shape: T): Tensor<D, Reshaped<T>> {
    const view = this.#use()
    const to = checkShape(shape, 'shape', -1)
    const open = to.indexOf(-1)
    const known = to.reduce((n, size, d) => (d === open ? n : n * size), 1)
    if (open >= 0) to[open] = known === 0 ? 0 : this.size / known
    if (to.some((n) => !Number.isSafeInteger(n) || n < 0) || sizeOf(to) !== this.size) {
      throw new InfernodeError('TENSOR_MISMATCH', 'reshape', `${named(view)} and [${to.join(', ')}]`, 'as many values in both')
    }
    const block = isPlain(view.dtype) || to.at(-1) === view.shape.at(-1)
    const strides = block ? reshapedStrides(view.shape, view.strides, to) : undefined
    if (!strides)
      throw new InfernodeError(
        'TENSOR_MISMATCH',
        'reshape',
        `${named(view)} and [${to.join(', ')}]`,
        'values that lie side by side; call contiguous() first',
      )
    return new Tensor({ ...view, shape: to, strides })
  }

  /** A part of each dimension: null for all of it, [begin, end), or an index, which takes the dimension out. Negative ones count from the end. */
  slice<const R extends readonly Range[], X extends Shape = S>(this: Tensor<D, X>, ...ranges: R): Tensor<D, Sliced<X, R>> {
    const view = this.#use()
    if (ranges.length > view.shape.length)
      throw invalid('slice', `at most ${view.shape.length} ranges for ${named(view)}`, ranges)
    let { offset } = view
    const shape: number[] = []
    const strides: number[] = []
    view.shape.forEach((n, d) => {
      const range: Range = ranges[d] ?? null
      if (range !== null && typeof range !== 'number' && !(Array.isArray(range) && range.length === 2))
        throw invalid('slice', 'null, an index or [begin, end] for each dimension', range)
      const place = (i: number, last: number): number => {
        const from = i < 0 ? i + n : i
        if (!Number.isInteger(i) || from < 0 || from > last)
          throw invalid('slice', `places within dimension ${d} of ${named(view)}`, i)
        return from
      }
      const [begin, end] =
        range === null
          ? [0, n]
          : typeof range === 'number'
            ? [place(range, n - 1), 0]
            : [place(range[0], n), place(range[1], n)]
      offset += begin * view.strides[d]!
      if (typeof range === 'number') return
      shape.push(Math.max(0, end - begin))
      strides.push(view.strides[d]!)
    })
    const last = view.shape.length - 1
    if (!isPlain(view.dtype) && ranges[last] !== undefined && ranges[last] !== null)
      throw mismatch('slice', [view], 'whole rows of a quantized tensor')
    if (sizeOf(shape) === 0) offset = 0
    return new Tensor({ ...view, offset, shape, strides })
  }

  /** The last two dimensions exchanged, or all in another order: transpose([2, 0, 1]). */
  transpose<T extends Shape = S>(this: Tensor<D, T>): Tensor<D, Transposed<T>>
  transpose<const A extends Shape, T extends Shape = S>(this: Tensor<D, T>, axes: A): Tensor<D, Permuted<T, A>>
  transpose(axes?: Shape): Tensor {
    const view = this.#use()
    const rank = view.shape.length
    const all = view.shape.map((_, d) => d)
    const order = axes === undefined ? [...all.slice(0, -2), rank - 1, rank - 2] : checkShape(axes, 'axes')
    if ((axes === undefined && rank < 2) || order.length !== rank || [...order].sort((a, b) => a - b).some((a, d) => a !== d)) {
      throw new InfernodeError(
        'TENSOR_MISMATCH',
        'transpose',
        `${named(view)} and the axes [${order.join(', ')}]`,
        'every axis once',
      )
    }
    if (!isPlain(view.dtype) && order.at(-1) !== rank - 1)
      throw mismatch('transpose', [view], 'the last dimension of a quantized tensor to stay last')
    return new Tensor(permutedView(view, order))
  }

  /** Repeats dimensions of 1 and adds dimensions in front, without a copy. */
  broadcastTo<const T extends Shape>(shape: T): Tensor<D, T> {
    const view = this.#use()
    const to = checkShape(shape)
    const missing = to.length - view.shape.length
    if (missing < 0 || !isPlain(view.dtype) || view.shape.some((n, d) => n !== 1 && n !== to[d + missing])) {
      throw new InfernodeError(
        'TENSOR_MISMATCH',
        'broadcastTo',
        `${named(view)} and [${to.join(', ')}]`,
        'sizes that are equal or 1, from the right',
      )
    }
    const strides = to.map((n, d) =>
      d < missing || (view.shape[d - missing] === 1 && n !== 1) ? 0 : view.strides[d - missing]!,
    )
    return new Tensor({ ...view, shape: to, strides })
  }

  // ---- Arithmetic: f32, f16, bf16; add, sub, mul, minimum, maximum also i32 (which wraps around). Computed in f32, rounded once.

  async add<B extends Shape = readonly [], X extends Shape = S>(
    this: Tensor<D, X>,
    other: number | (Tensor<D, B> & Fits<Broadcast<X, B>, 'add'>),
    options?: RunOptions,
  ): Promise<Tensor<D, Broadcast<X, B>>> {
    return this.#later(this.#binary('add', other), options)
  }
  async sub<B extends Shape = readonly [], X extends Shape = S>(
    this: Tensor<D, X>,
    other: number | (Tensor<D, B> & Fits<Broadcast<X, B>, 'sub'>),
    options?: RunOptions,
  ): Promise<Tensor<D, Broadcast<X, B>>> {
    return this.#later(this.#binary('sub', other), options)
  }
  async mul<B extends Shape = readonly [], X extends Shape = S>(
    this: Tensor<D, X>,
    other: number | (Tensor<D, B> & Fits<Broadcast<X, B>, 'mul'>),
    options?: RunOptions,
  ): Promise<Tensor<D, Broadcast<X, B>>> {
    return this.#later(this.#binary('mul', other), options)
  }
  async div<B extends Shape = readonly [], X extends Shape = S>(
    this: Tensor<D, X>,
    other: number | (Tensor<D, B> & Fits<Broadcast<X, B>, 'div'>),
    options?: RunOptions,
  ): Promise<Tensor<D, Broadcast<X, B>>> {
    return this.#later(this.#binary('div', other), options)
  }
  async pow<B extends Shape = readonly [], X extends Shape = S>(
    this: Tensor<D, X>,
    other: number | (Tensor<D, B> & Fits<Broadcast<X, B>, 'pow'>),
    options?: RunOptions,
  ): Promise<Tensor<D, Broadcast<X, B>>> {
    return this.#later(this.#binary('pow', other), options)
  }
  async minimum<B extends Shape = readonly [], X extends Shape = S>(
    this: Tensor<D, X>,
    other: number | (Tensor<D, B> & Fits<Broadcast<X, B>, 'minimum'>),
    options?: RunOptions,
  ): Promise<Tensor<D, Broadcast<X, B>>> {
    return this.#later(this.#binary('minimum', other), options)
  }
  async maximum<B extends Shape = readonly [], X extends Shape = S>(
    this: Tensor<D, X>,
    other: number | (Tensor<D, B> & Fits<Broadcast<X, B>, 'maximum'>),
    options?: RunOptions,
  ): Promise<Tensor<D, Broadcast<X, B>>> {
    return this.#later(this.#binary('maximum', other), options)
  }
  /** silu(this) · up. arXiv:2002.05202 §2. */
  async swiglu<B extends Shape = readonly [], X extends Shape = S>(
    this: Tensor<D, X>,
    up: Tensor<D, B> & Fits<Broadcast<X, B>, 'swiglu'>,
    options?: RunOptions,
  ): Promise<Tensor<D, Broadcast<X, B>>> {
    return this.#later(this.#binary('swiglu', up), options)
  }
  addSync<B extends Shape = readonly [], X extends Shape = S>(
    this: Tensor<D, X>,
    other: number | (Tensor<D, B> & Fits<Broadcast<X, B>, 'add'>),
  ): Tensor<D, Broadcast<X, B>> {
    return this.#now(this.#binary('add', other))
  }
  subSync<B extends Shape = readonly [], X extends Shape = S>(
    this: Tensor<D, X>,
    other: number | (Tensor<D, B> & Fits<Broadcast<X, B>, 'sub'>),
  ): Tensor<D, Broadcast<X, B>> {
    return this.#now(this.#binary('sub', other))
  }
  mulSync<B extends Shape = readonly [], X extends Shape = S>(
    this: Tensor<D, X>,
    other: number | (Tensor<D, B> & Fits<Broadcast<X, B>, 'mul'>),
  ): Tensor<D, Broadcast<X, B>> {
    return this.#now(this.#binary('mul', other))
  }
  divSync<B extends Shape = readonly [], X extends Shape = S>(
    this: Tensor<D, X>,
    other: number | (Tensor<D, B> & Fits<Broadcast<X, B>, 'div'>),
  ): Tensor<D, Broadcast<X, B>> {
    return this.#now(this.#binary('div', other))
  }

  /** A comparison with each value: bool. Comparisons with NaN are false (notEqual: true). */
  async compare<B extends Shape = readonly [], X extends Shape = S>(
    this: Tensor<D, X>,
    op: ComparisonOp,
    other: number | (Tensor<D, B> & Fits<Broadcast<X, B>, 'compare'>),
    options?: RunOptions,
  ): Promise<Tensor<'bool', Broadcast<X, B>>> {
    return this.#later(this.#binary(checkComparison(op), other), options)
  }

  /** Where this (of bool) is true the value of `yes`, else that of `no`. */
  async where<E extends PlainDType>(yes: Tensor<E>, no: Tensor<E>, options?: RunOptions): Promise<Tensor<E>> {
    return this.#later(whereCall(this.#use(), viewIn('yes', yes), viewIn('no', no)), options)
  }

  /**
   * neg, abs, sqrt, exp, log, tanh, sigmoid, relu, square, reciprocal, silu, gelu (by the normal distribution), geluTanh (its
   * approximation): within 4 units in the last place of f32.
   */
  async map(op: UnaryOp, options?: RunOptions): Promise<Tensor<D, S>> {
    return this.#later(unaryCall(checkUnary(op), this.#use()), options)
  }
  mapSync(op: UnaryOp): Tensor<D, S> {
    return this.#now(unaryCall(checkUnary(op), this.#use()))
  }
  async exp(options?: RunOptions): Promise<Tensor<D, S>> {
    return this.map('exp', options)
  }
  async log(options?: RunOptions): Promise<Tensor<D, S>> {
    return this.map('log', options)
  }
  async sqrt(options?: RunOptions): Promise<Tensor<D, S>> {
    return this.map('sqrt', options)
  }
  async tanh(options?: RunOptions): Promise<Tensor<D, S>> {
    return this.map('tanh', options)
  }
  async abs(options?: RunOptions): Promise<Tensor<D, S>> {
    return this.map('abs', options)
  }
  async neg(options?: RunOptions): Promise<Tensor<D, S>> {
    return this.map('neg', options)
  }
  async relu(options?: RunOptions): Promise<Tensor<D, S>> {
    return this.map('relu', options)
  }
  async silu(options?: RunOptions): Promise<Tensor<D, S>> {
    return this.map('silu', options)
  }
  /** x · Φ(x), or with `approximate: 'tanh'` what many models use for it. arXiv:1606.08415 §2. */
  async gelu(options: RunOptions & { approximate?: 'none' | 'tanh' } = {}): Promise<Tensor<D, S>> {
    const { approximate, ...rest } = checkOptions(options, geluRules)
    return this.map(approximate === 'tanh' ? 'geluTanh' : 'gelu', rest)
  }

  // ---- Reductions over some axes (all, if none are named)

  /** Integers and bool add up exactly to i32. */
  async sum(axes?: number | readonly number[], options: ReduceOptions = {}): Promise<Tensor<D extends FloatDType ? D : 'i32'>> {
    return this.#reduce('sum', axes, options)
  }
  async mean(
    axes?: number | readonly number[],
    options: ReduceOptions = {},
  ): Promise<Tensor<D extends FloatDType ? D : 'f32'>> {
    return this.#reduce('mean', axes, options)
  }
  /** NaN where there is one, as for min. */
  async max(axes?: number | readonly number[], options: ReduceOptions = {}): Promise<Tensor<D>> {
    return this.#reduce('max', axes, options)
  }
  async min(axes?: number | readonly number[], options: ReduceOptions = {}): Promise<Tensor<D>> {
    return this.#reduce('min', axes, options)
  }
  /** The lowest index of the largest value, or of the first NaN; over several axes the index in their row-major order. */
  async argmax(axes?: number | readonly number[], options: ReduceOptions = {}): Promise<Tensor<'i32'>> {
    return this.#reduce('argmax', axes, options)
  }
  async argmin(axes?: number | readonly number[], options: ReduceOptions = {}): Promise<Tensor<'i32'>> {
    return this.#reduce('argmin', axes, options)
  }
  sumSync(axes?: number | readonly number[], options: { keepDims?: boolean } = {}): Tensor<D extends FloatDType ? D : 'i32'> {
    const { keepDims = false } = checkOptions(options, keepDimsRules)
    return this.#now(reduceCall('sum', this.#use(), axes, keepDims))
  }

  /** The k largest values of the last dimension, largest first, and their places; equal ones by place, NaN last. */
  async topK<N extends number, X extends Shape = S>(
    this: Tensor<D, X>,
    k: N,
    options?: RunOptions,
  ): Promise<{ values: Tensor<'f32', WithLast<X, N>>; indices: Tensor<'i32', WithLast<X, N>> }> {
    const [values, indices] = await run(topKCall(this.#use(), k), checkOptions(options, runRules))
    return { values: new Tensor(values!), indices: new Tensor(indices!) }
  }

  // ---- Products

  /**
   * [..., M, K] times [..., K, N], or times [..., N, K] with transposeB: f32 [..., M, N]. This tensor is f32, f16 or bf16; the other
   * one too, or of any quantized type: this one is then quantized to int8 first, as models do it.
   */
  async matmul<B extends Shape, T extends boolean = false, X extends Shape = S>(
    this: Tensor<D, X>,
    other: Tensor<DType, B> & Fits<MatmulShape<X, B, T>, 'matmul: the inner sizes differ'>,
    options: MatmulOptions<T> = {},
  ): Promise<Tensor<'f32', MatmulShape<X, B, T>>> {
    const { transposeB = false, ...rest } = checkOptions<MatmulOptions>(options, matmulRules)
    return this.#later(matmulCall(this.#use(), viewIn('other', other), transposeB), rest)
  }
  matmulSync<B extends Shape, T extends boolean = false, X extends Shape = S>(
    this: Tensor<D, X>,
    other: Tensor<DType, B> & Fits<MatmulShape<X, B, T>, 'matmul: the inner sizes differ'>,
    options: { transposeB?: T } = {},
  ): Tensor<'f32', MatmulShape<X, B, T>> {
    const { transposeB = false } = checkOptions<{ transposeB?: boolean }>(options, transposeRules)
    return this.#now(matmulCall(this.#use(), viewIn('other', other), transposeB))
  }

  /**
   * This [M, K] times `other` [N, K] transposed, both i8 or u8: scaleA · scaleB[n] · Σ (a − zeroA)(b − zeroB[n]) as f32, or the sums
   * alone as i32 if there are no scales. Sums are exact in 32 bits: any K up to 33,000.
   */
  async int8Matmul(
    other: Tensor<'i8'> | Tensor<'u8'>,
    options: Int8MatmulScales & RunOptions = {},
  ): Promise<Tensor<'f32'> | Tensor<'i32'>> {
    const { signal, ...scales } = checkOptions(options, int8Rules)
    return this.#later(int8MatmulCall(this.#use(), viewIn('other', other), scales), signal && { signal })
  }

  // ---- Layers

  /** exp(x) / Σ exp(x) along an axis. Default: the last. */
  async softmax(axis = -1, options?: RunOptions): Promise<Tensor<D, S>> {
    return this.#later(softmaxCall(this.#use(), axis), options)
  }
  softmaxSync(axis = -1): Tensor<D, S> {
    return this.#now(softmaxCall(this.#use(), axis))
  }

  /** x / √(mean x² + eps) · weight over the last dimension. arXiv:1910.07467 eq. 4. */
  async rmsNorm(weight?: Tensor<FloatDType>, options: NormOptions = {}): Promise<Tensor<D, S>> {
    const { eps = 1e-5, ...rest } = checkOptions(options, normRules)
    return this.#later(normCall('rmsNorm', this.#use(), optionalView('weight', weight), undefined, eps), rest)
  }

  /** (x − mean) / √(variance + eps) · weight + bias over the last dimension. arXiv:1607.06450 eq. 3. */
  async layerNorm(weight?: Tensor<FloatDType>, bias?: Tensor<FloatDType>, options: NormOptions = {}): Promise<Tensor<D, S>> {
    const { eps = 1e-5, ...rest } = checkOptions(options, normRules)
    const views = [optionalView('weight', weight), optionalView('bias', bias)] as const
    return this.#later(normCall('layerNorm', this.#use(), ...views, eps), rest)
  }

  /** [..., tokens, heads, headDim] with every head turned by its token's position. arXiv:2104.09864 eq. 34. */
  async rope(options: RopeOptions = {}): Promise<Tensor<D, S>> {
    const { positions, signal, ...rest } = checkOptions<RopeOptions>(options, ropeRules)
    const call = ropeCall(this.#use(), {
      ...rest,
      ...(positions !== undefined && { positions: viewIn('positions', positions) }),
    })
    return this.#later(call, signal && { signal })
  }

  /** Rows of this table [V, D] (floats or quantized): [...ids, D] as f32. */
  async embedding(ids: Tensor<'i32'>, options?: RunOptions): Promise<Tensor<'f32'>> {
    return this.#later(embeddingCall(this.#use(), viewIn('ids', ids)), options)
  }

  /**
   * softmax(scale · q · kᵀ) · v, this being q [B, T, H, E], or [T, H, E]; k and v [B, S, K, E]; query head h reads head ⌊h·K / H⌋.
   * arXiv:1706.03762 eq. 1, arXiv:2305.13245. A query that sees no key gives zeros.
   */
  async attention(k: Tensor<FloatDType>, v: Tensor<FloatDType>, options: AttentionOptions = {}): Promise<Tensor<'f32', S>> {
    const {
      causal = true,
      window,
      scale,
      softcap,
      lengths,
      mask,
      ...rest
    } = checkOptions<AttentionOptions>(options, attentionRules)
    const call = attentionCall(this.#use(), viewIn('k', k), viewIn('v', v), {
      causal,
      window,
      scale,
      softcap,
      lengths,
      mask: optionalView('mask', mask),
    })
    return this.#later(call, rest)
  }

  // ---- Types and layout

  /**
   * To another plain dtype. To f16 and bf16: nearest, ties to even. To integers: towards zero, what does not fit as the nearest that
   * does, NaN as 0. To bool: whether it is not 0.
   */
  async cast<E extends PlainDType>(dtype: E, options?: RunOptions): Promise<Tensor<E, S>> {
    return this.#later(convertCall('cast', this.#plain('cast'), checkPlain(dtype)), options)
  }
  castSync<E extends PlainDType>(dtype: E): Tensor<E, S> {
    return this.#now(convertCall('cast', this.#plain('cast'), checkPlain(dtype)))
  }

  /** To blocks of a quantized type, along the last dimension. Values must be finite. OPERATION_UNSUPPORTED if the type cannot be encoded. */
  async quantize<E extends BlockDType>(dtype: E, options?: RunOptions): Promise<Tensor<E, S>> {
    if (isPlain(checkDType(dtype))) throw invalid('dtype', 'a quantized type; cast() is for plain ones', dtype)
    return this.#later(convertCall('quantize', this.#use(), dtype), options)
  }
  /** Blocks as f32. */
  async dequantize(options?: RunOptions): Promise<Tensor<'f32', S>> {
    return this.#later(convertCall('dequantize', this.#use(), 'f32'), options)
  }

  /** The same values side by side: a view of the same memory if they are so already, else a copy. */
  async contiguous(options?: RunOptions): Promise<Tensor<D, S>> {
    const view = this.#use()
    checkOptions(options, runRules)
    return isContiguous(view) ? new Tensor(view) : this.#later(convertCall('contiguous', view, view.dtype), options)
  }

  // ---- Reading

  /** Resolves when the values are there: large tensors of full, arange and random are filled in the background. */
  async ready(options?: RunOptions): Promise<this> {
    await run({ op: 'wait', operands: [this.#use()], attributes: [], results: [] }, checkOptions(options, runRules))
    return this
  }

  /** The values in row-major order, in a new array. */
  async read(options?: RunOptions): Promise<ArrayOf<D>> {
    const array = new (arrayConstructor(this.dtype))(this.#arrayLength())
    await this.readInto(array as ArrayOf<D>, options)
    return array as ArrayOf<D>
  }

  /** Copies the values into an array of the dtype's kind and of the tensor's size, 4 MB in a turn of the event loop. */
  async readInto(array: ArrayOf<D>, options?: RunOptions): Promise<void> {
    const { signal } = checkOptions(options, runRules)
    const kind = arrayConstructor(this.dtype)
    const length = this.#arrayLength()
    const check = (): void => {
      if (!(array instanceof kind)) throw invalid('array', `a ${kind.name} for ${this.dtype}`, array)
      if (length > 0 && isDetached(array)) throw new InfernodeError('TENSOR_DETACHED', 'array')
      if (array.length !== length)
        throw new InfernodeError(
          'TENSOR_MISMATCH',
          'readInto',
          `${named(this.#view)} and a ${kind.name}(${array.length})`,
          `${length} elements`,
        )
    }
    this.#use()
    check()
    const whole = await this.contiguous(options)
    try {
      await whole.ready(options)
      const { storage, dtype, offset } = whole.#view
      const start = bytesOf(dtype, offset)
      for (let at = 0; at < array.byteLength; at += sliceBytes) {
        if (at > 0) await nextTurn()
        check()
        if (signal?.aborted) throw aborted('The operation', signal)
        const into = new Uint8Array(array.buffer, array.byteOffset + at, Math.min(sliceBytes, array.byteLength - at))
        const own = array.buffer instanceof SharedArrayBuffer ? new Uint8Array(into.length) : into
        checked(() => tensors().read(storage.native, start + at, own))
        if (own !== into) into.set(own)
      }
    } finally {
      whole.dispose()
    }
  }

  /** As read(), at once: at most 4 MB. */
  readSync(): ArrayOf<D> {
    const view = this.#use()
    const array = new (arrayConstructor(this.dtype))(this.#arrayLength())
    if (array.byteLength > maxSyncReadBytes) {
      throw new InfernodeError('TOO_LARGE_FOR_SYNC', 'readSync', String(this.size), '0', `${maxSyncReadBytes} bytes`, '0')
    }
    const { storage, dtype, offset } = isContiguous(view) ? view : runSyncOrThrow(convertCall('readSync', view, view.dtype))
    if (!checked(() => tensors().read(storage.native, bytesOf(dtype, offset), new Uint8Array(array.buffer)))) {
      throw new InfernodeError('TENSOR_PENDING', 'readSync')
    }
    return array as ArrayOf<D>
  }

  /** The only value of a tensor that has one. */
  item(): number {
    if (this.size !== 1) throw mismatch('item', [this.#use()], 'one value')
    const value = this.#valueAt(
      this.#use(),
      this.shape.map(() => 0),
    )
    if (value === undefined) throw new InfernodeError('TENSOR_PENDING', 'item')
    return value
  }

  toString(): string {
    if (this.#disposed) return `Tensor ${named(this.#view)} (disposed)`
    const view = this.#view
    return print({ dtype: view.dtype, shape: view.shape, at: (indices) => this.#valueAt(view, indices) })
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString()
  }

  // ---- Freeing

  /** Frees the memory when no other view and no running operation uses it. Using the tensor afterwards throws DISPOSED. */
  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    if (--this.#view.storage.users === 0) tensors().dispose(this.#view.storage.native)
  }
  [Symbol.dispose](): void {
    this.dispose()
  }
  async [Symbol.asyncDispose](): Promise<void> {
    this.dispose()
  }

  // ---- Inside

  #use(): View {
    if (this.#disposed) throw new InfernodeError('DISPOSED', 'tensor')
    return this.#view
  }
  #plain(op: string): View {
    const view = this.#use()
    if (!isPlain(view.dtype)) throw mismatch(op, [view], 'a tensor that is not quantized; dequantize() first')
    return view
  }
  #binary(op: ArithmeticOp | ComparisonOp, other: unknown): Call {
    return binaryCall(op, this.#use(), typeof other === 'number' ? other : viewIn('other', other))
  }
  async #reduce<R extends Tensor>(
    op: ReductionOp,
    axes: number | readonly number[] | undefined,
    options: ReduceOptions,
  ): Promise<R> {
    const { keepDims = false, ...rest } = checkOptions(options, reduceRules)
    return this.#later(reduceCall(op, this.#use(), axes, keepDims), rest)
  }
  async #later<R extends Tensor>(call: Call, options?: RunOptions): Promise<R> {
    const [view] = await run(call, checkOptions(options, runRules))
    return new Tensor(view!) as unknown as R
  }
  #now<R extends Tensor>(call: Call): R {
    return new Tensor(runSyncOrThrow(call)) as unknown as R
  }
  /** Elements of the array that holds the values: bytes, for blocks. */
  #arrayLength(): number {
    return isPlain(this.dtype) ? this.size : bytesOf(this.dtype, this.size)
  }
  #valueAt(view: View, indices: readonly number[]): number | undefined {
    if (!isPlain(view.dtype)) return undefined
    const place = indices.reduce((at, index, d) => at + index * view.strides[d]!, view.offset)
    const array = new (arrayConstructor(view.dtype))(1)
    if (!checked(() => tensors().read(view.storage.native, bytesOf(view.dtype, place), new Uint8Array(array.buffer))))
      return undefined
    return view.dtype === 'f16' || view.dtype === 'bf16' ? fromHalf(view.dtype, array[0]!) : array[0]!
  }
  /** @internal */
  static viewOf(tensor: Tensor): View {
    return tensor.#use()
  }
}

function viewIn(name: string, tensor: unknown): View {
  if (!(tensor instanceof Tensor)) throw invalid(name, 'a Tensor', tensor)
  return Tensor.viewOf(tensor)
}

const optionalView = (name: string, tensor: unknown): View | undefined =>
  tensor === undefined ? undefined : viewIn(name, tensor)

const runSyncOrThrow = (call: Call): View => runSync(call)[0]!

function create<R extends Tensor>(
  shape: unknown,
  dtype: unknown,
  fill: number,
  first: number,
  second: number,
  seed: number,
): R {
  return Tensor.make(checkPlain(dtype ?? 'f32'), checkShape(shape), fill, first, second, seed) as R
}

function newViewOf(dtype: DType, shape: Shape): View {
  if (!isPlain(dtype)) checkBlocks('zeros', dtype, shape)
  return newView(
    checked(() => tensors().zeros(bytesOf(dtype, sizeOf(shape)))),
    dtype,
    shape,
  )
}
