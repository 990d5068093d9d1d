import { describe, expect, it } from 'vitest'
import {
  boolean,
  checkOptions,
  describe as describeValue,
  finite,
  integer,
  nearestName,
  oneOf,
  oneOrMore,
  nonEmptyString,
} from '../src/options.js'

const rules = {
  maxTokens: integer(1),
  topP: finite('a number above 0 and up to 1', (p) => p > 0 && p <= 1),
  kvType: oneOf('f16', 'f32'),
  stop: oneOrMore(nonEmptyString, 'such strings'),
  echo: boolean,
}
interface Options {
  maxTokens?: number
  topP?: number
  kvType?: string
  stop?: string | string[]
  echo?: boolean
}
const check = (options: unknown) => checkOptions<Options>(options as Options, rules)

describe('checkOptions', () => {
  it('copies what is given and leaves out what is undefined', () => {
    const options = { maxTokens: 3, topP: undefined }
    const checked = check(options)
    expect(checked).toEqual({ maxTokens: 3 })
    expect('topP' in checked).toBe(false)
    expect(checked).not.toBe(options)
  })

  it('names an unknown option and the nearest known one', () => {
    expect(() => check({ maxToken: 3 })).toThrow(expect.objectContaining({ code: 'UNKNOWN_OPTION' }))
    expect(() => check({ maxToken: 3 })).toThrow('There is no option "maxToken". Did you mean "maxTokens"?')
    expect(() => check({ max_tokens: 3 })).toThrow('Did you mean "maxTokens"?')
    expect(() => check({ zzzzzzzzzz: 3 })).toThrow('See the documentation')
  })

  it('does not take names of Object.prototype for options', () => {
    expect(() => check({ toString: 1 })).toThrow('There is no option "toString".')
    expect(() => check(JSON.parse('{"__proto__": 1}'))).toThrow('There is no option "__proto__".')
  })

  it.each([
    [{ maxTokens: 0 }, 'maxTokens: expected a whole number of at least 1, received 0.'],
    [{ maxTokens: 1.5 }, 'received 1.5'],
    [{ maxTokens: NaN }, 'received NaN'],
    [{ maxTokens: '3' }, 'received "3"'],
    [{ maxTokens: null }, 'received null'],
    [{ maxTokens: 3n }, 'received 3n'],
    [{ topP: Infinity }, 'received Infinity'],
    [{ topP: 0 }, 'topP: expected a number above 0 and up to 1, received 0.'],
    [{ kvType: 'f8' }, 'kvType: expected "f16" or "f32", received "f8".'],
    [{ stop: '' }, 'received ""'],
    [{ stop: ['a', 1] }, 'received ["a", 1]'],
    [{ echo: 1 }, 'echo: expected true or false, received 1.'],
  ])('says for case %# what was expected and received', (options, message) => {
    expect(() => check(options)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
    expect(() => check(options)).toThrow(message)
  })

  it.each([[null], [3], ['x'], [[]]])('refuses %j for the options themselves', (options) => {
    expect(() => check(options)).toThrow('options: expected an object')
  })

  it('reads a property once, so that a getter cannot answer differently later', () => {
    let reads = 0
    const checked = check({
      get maxTokens() {
        return ++reads === 1 ? 5 : -1
      },
    })
    expect(checked.maxTokens).toBe(5)
    expect(reads).toBe(1)
  })
})

describe('describe', () => {
  it.each([
    ['x'.repeat(100), `"${'x'.repeat(60)}…"`],
    [[1, 2], '[1, 2]'],
    [new Array(9).fill(0), 'an array of 9'],
    [new Float32Array(2), 'Float32Array(8 bytes)'],
    [new Map(), 'a Map'],
    [Object.create(null), 'an object'],
    [() => 1, 'a function'],
    [undefined, 'undefined'],
  ])('words %s', (value, words) => expect(describeValue(value)).toBe(words))
})

describe('nearestName', () => {
  it('finds transposed, missing and wrong letters, and nothing far away', () => {
    const names = ['temperature', 'topK', 'topP', 'seed']
    expect(nearestName('temprature', names)).toBe('temperature')
    expect(nearestName('top_k', names)).toBe('topK')
    expect(nearestName('sed', names)).toBe('seed')
    expect(nearestName('numberOfBeams', names)).toBeUndefined()
  })
})
