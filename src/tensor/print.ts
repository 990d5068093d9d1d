/** Tensors as text: aligned columns, long dimensions shortened to their ends. */
import type { DType } from './dtypes.js'
import { type Shape, sizeOf } from './shapes.js'

/** Values shown of a dimension at each end, once a tensor has more than `whole` values. */
const edge = 3
const whole = 1000

export interface Printable {
  readonly dtype: DType
  readonly shape: Shape
  /** The value at these indices, as a number; undefined where there is nothing to show it of. */
  at(indices: readonly number[]): number | undefined
}

/** The indices of a dimension that are shown; -1 stands for those left out. */
function shown(n: number, shortened: boolean): number[] {
  const all = Array.from({ length: shortened && n > 2 * edge ? 2 * edge : n }, (_, i) => i)
  if (!shortened || n <= 2 * edge) return all
  return [...all.slice(0, edge), -1, ...all.slice(edge).map((i) => n - 2 * edge + i)]
}

/** Every number with the digits that the shown ones need together, at most four behind the point; all in powers of ten where they differ much. */
function formatter(values: readonly number[], dtype: DType): (value: number) => string {
  if (dtype === 'bool') return (value) => (value ? 'true' : 'false')
  const finite = values.filter((v) => Number.isFinite(v))
  if (finite.every((v) => Number.isInteger(v))) {
    const large = finite.some((v) => Math.abs(v) >= 1e8)
    if (dtype === 'i32' || dtype === 'i8' || dtype === 'u8') return String
    if (!large) return (value) => (Number.isFinite(value) ? `${value}.` : named(value))
  }
  const sizes = finite.map(Math.abs).filter((v) => v > 0)
  const largest = Math.max(0, ...sizes)
  const smallest = Math.min(Infinity, ...sizes)
  if (largest >= 1e8 || smallest < 1e-4 || largest / smallest > 1e6)
    return (value) => (Number.isFinite(value) ? value.toExponential(4) : named(value))
  const digits = Math.max(1, ...finite.map((v) => (v.toFixed(4).replace(/0+$/, '').split('.')[1] ?? '').length))
  return (value) => (Number.isFinite(value) ? value.toFixed(digits) : named(value))
}

const named = (value: number): string => (Number.isNaN(value) ? 'nan' : value > 0 ? 'inf' : '-inf')

/** As `Tensor f32[2, 3] [[1., 2., 3.], …]`, over several lines where there are rows. */
export function print(tensor: Printable): string {
  const { dtype, shape } = tensor
  const head = `Tensor ${dtype}[${shape.join(', ')}]`
  if (sizeOf(shape) === 0) return `${head} []`
  const shortened = sizeOf(shape) > whole
  const axes = shape.map((n) => shown(n, shortened))
  const values: number[] = []
  const collect = (indices: number[]): boolean => {
    if (indices.length === shape.length) {
      const value = tensor.at(indices)
      if (value === undefined) return false
      values.push(value)
      return true
    }
    return axes[indices.length]!.every((i) => i < 0 || collect([...indices, i]))
  }
  if (!collect([])) return head
  const format = formatter(values, dtype)
  const texts = values.map(format)
  const width = Math.max(...texts.map((text) => text.length))
  let next = 0
  const body = (depth: number): string => {
    if (depth === shape.length) return texts[next++]!.padStart(width)
    const parts = axes[depth]!.map((i) => (i < 0 ? '…' : body(depth + 1)))
    if (depth === shape.length - 1) return `[${parts.join(', ')}]`
    return `[${parts.join(`,${'\n'.repeat(shape.length - 1 - depth)}${' '.repeat(depth + 1)}`)}]`
  }
  return shape.length === 0 ? `${head} ${texts[0]}` : shape.length === 1 ? `${head} ${body(0)}` : `${head}\n${body(0)}`
}
