/** What all commands share: writing so that a closed pipe ends quietly, colour only for people, exit codes, Ctrl-C. */
import { CommanderError, InvalidArgumentError, Option } from 'commander'
import { InfernodeError } from '../index.js'

export const exitCodes = { ok: 0, error: 1, usage: 2, interrupted: 130 } as const

/** A mistake in the command line that commander cannot see. */
export class UsageError extends Error {}

/** Aborted by Ctrl-C: generation leaves the batch, the command ends with 130. A second Ctrl-C ends the process at once. */
export const interruption = new AbortController()

let onTurn: (() => void) | undefined

export function listenForInterruption(): void {
  process.on('SIGINT', () => {
    if (interruption.signal.aborted) process.exit(exitCodes.interrupted)
    if (onTurn) onTurn()
    else interruption.abort(new Error('interrupted'))
  })
}

/** Ctrl-C calls `stop` instead, until the returned function is called. */
export function listenForTurns(stop: () => void): () => void {
  onTurn = stop
  return () => (onTurn = undefined)
}

/** `head` and the like close our output early; that is no error of ours, and there is nothing left to do. */
export function endQuietlyOnClosedPipe(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error
      process.exit(exitCodes.ok)
    })
  }
}

/** Writes to stdout and waits while the reader is slower than we are. */
export function write(text: string): Promise<void> | void {
  if (process.stdout.write(text)) return
  return new Promise((resolve) => process.stdout.once('drain', resolve))
}

export function writeJson(value: unknown): Promise<void> | void {
  return write(`${JSON.stringify(value, null, process.stdout.isTTY ? 2 : undefined)}\n`)
}

/** A remark for people; stdout stays clean for what was asked for. */
export function remark(text: string): void {
  process.stderr.write(`${dim(text, process.stderr)}\n`)
}

export function dim(text: string, stream: NodeJS.WriteStream = process.stdout): string {
  return colourful(stream) ? `\u001b[2m${text}\u001b[22m` : text
}

export function bold(text: string, stream: NodeJS.WriteStream = process.stdout): string {
  return colourful(stream) ? `\u001b[1m${text}\u001b[22m` : text
}

function colourful(stream: NodeJS.WriteStream): boolean {
  return Boolean(stream.isTTY) && !process.env.NO_COLOR && process.env.TERM !== 'dumb'
}

/** A line on stderr that is overwritten as work goes on; nothing where stderr is no terminal. */
export function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[2K${text}`)
}

/** Columns of text, right-aligned where `alignRight` says so. */
export function table(rows: readonly (readonly string[])[], alignRight: readonly number[] = []): string {
  const widths: number[] = []
  for (const row of rows) row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, cell.length)))
  const line = (row: readonly string[]): string =>
    row
      .map((cell, i) => (alignRight.includes(i) ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
      .join('  ')
      .trimEnd()
  return rows.map(line).join('\n')
}

export function bytes(count: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let unit = 0
  let value = count
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 2 : 1)} ${units[unit]}`
}

export function millions(count: number): string {
  return count >= 1e9 ? `${(count / 1e9).toFixed(2)}B` : `${(count / 1e6).toFixed(1)}M`
}

/** Parsers of option values; the library checks ranges and words the error. */
export function number(text: string): number {
  const value = Number(text)
  if (text.trim() === '' || Number.isNaN(value)) throw new InvalidArgumentError('Expected a number.')
  return value
}

export function list(text: string, before: readonly string[] | undefined): string[] {
  return [...(before ?? []), text]
}

/** "15=-2.5" or "15=-Infinity", once or several times. */
export function bias(text: string, before: Readonly<Record<number, number>> | undefined): Record<number, number> {
  const match = /^(\d+)=(.+)$/.exec(text)
  if (!match) throw new InvalidArgumentError('Expected ID=BIAS, for example 15=-2.5.')
  return { ...before, [Number(match[1])]: number(match[2]!) }
}

export function ids(text: string): number[] {
  return text.split(',').map(number)
}

export function jsonOption(): Option {
  return new Option('--json', 'print one JSON object for scripts')
}

/** Prints what went wrong and gives the exit code. */
export function explain(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage // commander has said it
  if (interruption.signal.aborted) return exitCodes.interrupted
  const message = error instanceof Error ? error.message : String(error)
  const code = error instanceof InfernodeError ? ` [${error.code}]` : ''
  process.stderr.write(`${bold('infernode:', process.stderr)} ${message}${code}\n`)
  if (process.env.INFERNODE_DEBUG && error instanceof Error) process.stderr.write(`${error.stack}\n`)
  const isUsage = error instanceof UsageError || (error instanceof InfernodeError && usageCodes.has(error.code))
  return isUsage ? exitCodes.usage : exitCodes.error
}

const usageCodes: ReadonlySet<string> = new Set(['INVALID_ARGUMENT', 'UNKNOWN_OPTION', 'TOKEN_UNKNOWN', 'ISA_UNKNOWN'])
