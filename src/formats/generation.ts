/** Sampling defaults as checkpoints give them, checked before the engine sees them. */
import type { InfernodeError } from '../errors.js'
import type { GenerationDefaults } from './checkpoint.js'

export type SamplingDefaults = Omit<GenerationDefaults, 'eosTokenIds'>
type Name = keyof SamplingDefaults

const rules: Readonly<Record<Name, readonly [expected: string, accepts: (value: number) => boolean]>> = {
  temperature: ['a number of at least 0', (value) => value >= 0],
  topK: ['an integer of at least 0, or -1', (value) => Number.isInteger(value) && value >= -1],
  topP: ['a number above 0 and up to 1', (value) => value > 0 && value <= 1],
  minP: ['a number from 0 to 1', (value) => value >= 0 && value <= 1],
  repetitionPenalty: ['a number above 0', (value) => value > 0],
}

/** Those of `fields` that the checkpoint has (`read` gives neither undefined nor null). `fail` makes the error for a field. */
export function samplingDefaults(
  fields: Readonly<Record<Name, string>>,
  read: (field: string) => unknown,
  fail: (field: string, reason: string) => InfernodeError,
): SamplingDefaults {
  const defaults: { -readonly [N in Name]?: number } = {}
  for (const name of Object.keys(rules) as Name[]) {
    const [expected, accepts] = rules[name]
    const value = read(fields[name]) ?? undefined
    if (value === undefined) continue
    if (typeof value !== 'number' || !Number.isFinite(value) || !accepts(value))
      throw fail(fields[name], `expected ${expected}`)
    // Both mean that there is no limit.
    defaults[name] = name === 'topK' ? Math.max(value, 0) : value
  }
  return defaults
}
