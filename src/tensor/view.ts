/** Where a tensor's values lie: a storage that V8 counts, and the way through it. */
import { native, type NativeStorage, type NativeTensors, toInfernodeError } from '../native.js'
import { InfernodeError } from '../errors.js'
import { aborted } from '../options.js'
import { askedIsa } from '../runtime.js'
import { type DType, numberOf } from './dtypes.js'
import { type Shape, sizeOf, stridesOf } from './shapes.js'

/** Freed by the last of its tensors to be disposed, or by the garbage collector. */
export interface Storage {
  readonly native: NativeStorage
  /** Tensors that were not disposed. */
  users: number
}

/** Offset and strides count values. */
export interface View {
  readonly storage: Storage
  readonly dtype: DType
  readonly offset: number
  readonly shape: Shape
  readonly strides: readonly number[]
}

/** One op: what it reads, what it gives. */
export interface Call {
  readonly op: string
  readonly operands: readonly (View | null)[]
  readonly attributes: readonly number[]
  readonly results: readonly { readonly dtype: DType; readonly shape: Shape; readonly strides?: readonly number[] }[]
}

export interface RunOptions {
  /** Aborts the op: the promise rejects with ABORTED, whose `cause` is the signal's reason, and the work stops within milliseconds. */
  signal?: AbortSignal
}

let backend: { asked: string; tensors: NativeTensors } | undefined
let forced: string | undefined

/** The kernels of the variant that INFERNODE_ISA asks for, or of the best one. */
export function tensors(): NativeTensors {
  const asked = forced ?? askedIsa(undefined)
  if (backend?.asked !== asked) backend = { asked, tensors: checked(() => native().createTensors(asked)) }
  return backend.tensors
}

/** For tests: the variant of all ops from now on; undefined: as INFERNODE_ISA says. */
export function forceIsa(isa: string | undefined): void {
  forced = isa
}

export function checked<T>(call: () => T): T {
  try {
    return call()
  } catch (cause) {
    throw toInfernodeError(cause)
  }
}

export function newView(
  storage: NativeStorage,
  dtype: DType,
  shape: Shape,
  strides: readonly number[] = stridesOf(shape),
): View {
  return { storage: { native: storage, users: 0 }, dtype, offset: 0, shape, strides }
}

/** A copy of an array's bytes as a tensor's values. */
export function viewOf(array: ArrayBufferView, dtype: DType, shape: Shape): View {
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
  // What another thread may write is copied by JavaScript's own rules first.
  const own = array.buffer instanceof SharedArrayBuffer ? Uint8Array.from(bytes) : bytes
  return newView(
    checked(() => tensors().copy(own)),
    dtype,
    shape,
  )
}

export function isContiguous({ shape, strides }: View): boolean {
  const dense = stridesOf(shape)
  return sizeOf(shape) === 0 || shape.every((n, d) => n === 1 || strides[d] === dense[d])
}

/** f32[2, 3] */
export const named = ({ dtype, shape }: Pick<View, 'dtype' | 'shape'>): string => `${dtype}[${shape.join(', ')}]`

export function mismatch(op: string, operands: readonly Pick<View, 'dtype' | 'shape'>[], expected: string): InfernodeError {
  return new InfernodeError('TENSOR_MISMATCH', op, operands.map(named).join(' and '), expected)
}

const crossing = (view: View | null) =>
  view && ([view.storage.native, numberOf(view.dtype), view.offset, view.shape, view.strides] as const)

const resultsOf = (call: Call, storages: readonly NativeStorage[]): View[] =>
  call.results.map(({ dtype, shape, strides }, i) => newView(storages[i]!, dtype, shape, strides))

/** On the engine's threads. */
export async function run(call: Call, { signal }: RunOptions = {}): Promise<View[]> {
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw new InfernodeError('INVALID_ARGUMENT', 'signal', 'an AbortSignal', typeof signal)
  }
  if (signal?.aborted) throw aborted('The operation', signal)
  const { result, cancel } = checked(() => tensors().run(call.op, call.operands.map(crossing), call.attributes))
  let stopListening = (): void => {}
  const cut = new Promise<never>((_, reject) => {
    if (!signal) return
    const onAbort = (): void => {
      cancel()
      reject(aborted('The operation', signal))
    }
    signal.addEventListener('abort', onAbort, { once: true })
    stopListening = () => signal.removeEventListener('abort', onAbort)
  })
  try {
    const storages = await (signal ? Promise.race([result, cut]) : result)
    return resultsOf(call, storages)
  } catch (cause) {
    throw toInfernodeError(cause)
  } finally {
    stopListening()
  }
}

/** Here and now. Throws TOO_LARGE_FOR_SYNC, TENSOR_PENDING. */
export function runSync(call: Call): View[] {
  return resultsOf(
    call,
    checked(() => tensors().runSync(call.op, call.operands.map(crossing), call.attributes)),
  )
}
