/** What the reference computes with: rows of float64 values. */

export interface Matrix {
  readonly rows: number
  readonly width: number
  readonly data: Float64Array
}

export function matrix(rows: number, width: number, value: (row: number, column: number) => number = () => 0): Matrix {
  const data = new Float64Array(rows * width)
  for (let r = 0; r < rows; r++) for (let c = 0; c < width; c++) data[r * width + c] = value(r, c)
  return { rows, width, data }
}

export const row = ({ data, width }: Matrix, r: number) => data.subarray(r * width, (r + 1) * width)

export function map(x: Matrix, f: (value: number, index: number) => number): Matrix {
  return { ...x, data: x.data.map(f) }
}
