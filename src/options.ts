/** Checks what callers pass and words every argument error: the name, what was expected, what was received. */
import { InfernodeError } from './errors.js'

/** What one option may be. `expected` continues the sentence "temperature: expected …". */
export interface Rule {
  readonly expected: string
  accepts(value: unknown): boolean
}

export type Rules<T> = { readonly [K in keyof Required<T>]: Rule }

export const boolean: Rule = { expected: 'true or false', accepts: (value) => typeof value === 'boolean' }

export const nonEmptyString: Rule = {
  expected: 'a string that is not empty',
  accepts: (value) => typeof value === 'string' && value !== '',
}

export const abortSignal: Rule = { expected: 'an AbortSignal', accepts: (value) => value instanceof AbortSignal }

export const callback: Rule = { expected: 'a function', accepts: (value) => typeof value === 'function' }

/** A whole number from `min` to `max`, both included. */
export function integer(min: number, max = Number.MAX_SAFE_INTEGER): Rule {
  const bounded = max === Number.MAX_SAFE_INTEGER ? `a whole number of at least ${min}` : `a whole number from ${min} to ${max}`
  return {
    expected: bounded,
    accepts: (value) => Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max,
  }
}

/** A finite number that passes `test`; `expected` says which those are. */
export function finite(expected: string, test: (value: number) => boolean): Rule {
  return { expected, accepts: (value) => typeof value === 'number' && Number.isFinite(value) && test(value) }
}

export function oneOf(...choices: readonly string[]): Rule {
  return {
    expected: choices.map((choice) => JSON.stringify(choice)).join(' or '),
    accepts: (value) => typeof value === 'string' && choices.includes(value),
  }
}

/** One value or an array of values that `rule` accepts. */
export function oneOrMore(rule: Rule, plural: string): Rule {
  return {
    expected: `${rule.expected}, or an array of ${plural}`,
    accepts: (value) => (Array.isArray(value) ? value.every((item) => rule.accepts(item)) : rule.accepts(value)),
  }
}

export function listOf(rule: Rule, plural: string): Rule {
  return {
    expected: `an array of ${plural}`,
    accepts: (value) => Array.isArray(value) && value.every((item) => rule.accepts(item)),
  }
}

/**
 * A copy of `options` in which every value passed its rule and nothing is undefined. Each property is read once, so that what
 * was checked is what is used.
 * @throws UNKNOWN_OPTION with the nearest name; INVALID_ARGUMENT with what was expected and received.
 */
export function checkOptions<T extends object>(options: T | undefined, rules: Rules<T>): Partial<T> {
  if (options === undefined) return {}
  if (typeof options !== 'object' || options === null || Array.isArray(options)) throw invalid('options', 'an object', options)
  const checked: Partial<T> = {}
  for (const [name, value] of Object.entries(options)) {
    if (!Object.hasOwn(rules, name))
      throw new InfernodeError('UNKNOWN_OPTION', name, nearestName(name, Object.keys(rules)) ?? '')
    if (value === undefined) continue
    const rule = rules[name as keyof T]
    if (!rule.accepts(value)) throw invalid(name, rule.expected, value)
    checked[name as keyof T] = value as T[keyof T]
  }
  return checked
}

export function invalid(name: string, expected: string, received: unknown): InfernodeError<'INVALID_ARGUMENT'> {
  return new InfernodeError('INVALID_ARGUMENT', name, expected, describe(received))
}

/** An ABORTED error whose `cause` is the signal's reason. */
export function aborted(what: string, signal: AbortSignal | undefined): InfernodeError<'ABORTED'> {
  const error = new InfernodeError('ABORTED', what)
  if (signal) error.cause = signal.reason
  return error
}

/** A value in an error message: short, on one line, with its kind. */
export function describe(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value)
  if (typeof value === 'function') return 'a function'
  if (typeof value === 'bigint') return `${value}n`
  if (typeof value !== 'object' || value === null) return String(value)
  if (Array.isArray(value)) return value.length > 4 ? `an array of ${value.length}` : `[${value.map(describe).join(', ')}]`
  if (ArrayBuffer.isView(value)) return `${value.constructor.name}(${value.byteLength} bytes)`
  const kind = (value as object).constructor?.name
  return kind && kind !== 'Object' ? `a ${kind}` : 'an object'
}

/** The known name that is closest to a misspelt one; undefined if none is close enough to be meant. */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  let best: string | undefined
  let bestDistance = Math.max(2, Math.floor(name.length / 3)) + 1
  for (const candidate of known) {
    const distance = editDistance(name.toLowerCase().replaceAll(/[-_]/g, ''), candidate.toLowerCase())
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

/** Levenshtein's distance with one row of the table. */
function editDistance(a: string, b: string): number {
  const row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    let diagonal = row[0]!
    row[0] = i
    for (let j = 1; j <= b.length; j++) {
      const substituted = diagonal + (a[i - 1] === b[j - 1] ? 0 : 1)
      diagonal = row[j]!
      row[j] = Math.min(substituted, row[j]! + 1, row[j - 1]! + 1)
    }
  }
  return row[b.length]!
}
