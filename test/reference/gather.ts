/** Ops that pick rows, in float64. */
import { matrix, type Matrix } from './matrix.js'

export function embedding(table: Matrix, tokens: readonly number[], scale: number): Matrix {
  return matrix(tokens.length, table.width, (t, d) => scale * table.data[tokens[t]! * table.width + d]!)
}

/** Row t at position t. */
export function positionEmbedding(table: Matrix, rows: number): Matrix {
  return matrix(rows, table.width, (t, d) => table.data[t * table.width + d]!)
}

export function outputRows(x: Matrix, rows: readonly number[]): Matrix {
  return matrix(rows.length, x.width, (n, d) => x.data[rows[n]! * x.width + d]!)
}
