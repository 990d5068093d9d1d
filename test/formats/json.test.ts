import { describe, expect, it } from 'vitest'
import { parseJson, readJsonObject } from '../../src/formats/json.js'
import { temporaryFile } from '../support/checkpoints.js'

const parse = (text: string | Uint8Array) => parseJson(Buffer.from(text as string), 'config.json', 'JSON')

describe('parseJson', () => {
  it('agrees with JSON.parse', async () => {
    const texts = [
      '0',
      ' -1.5e+3 ',
      'true',
      'null',
      '""',
      '[]',
      '{}',
      '[1,[2,[]],{"a":{}}]',
      '{"a":1,"b":[true,false,null],"c":{"d":"e"}}',
      '"\\u00e4\\ud834\\udd1e\\n\\\\\\"/"',
      '"äöü 𝄞 \u2028"',
      ' {\n\t"a" : [ 1 , 2 ]\r\n} ',
      '{"":0,"toString":1,"constructor":2}',
      '[1e400,-0,1E-7,123456789012345678901234567890]',
    ]
    for (const text of texts) expect(await parse(text), text).toEqual(JSON.parse(text))
  })

  it('reads what Python writes for numbers that JSON lacks', async () => {
    expect(await parse('[NaN, Infinity, -Infinity]')).toEqual([NaN, Infinity, -Infinity])
  })

  it('keeps __proto__ a key like others', async () => {
    const value = (await parse('{"__proto__": {"polluted": 1}, "a": 2}')) as Record<string, unknown>
    expect(Object.keys(value)).toEqual(['__proto__', 'a'])
    expect(value['polluted']).toBeUndefined()
  })

  it('rejects what is not JSON, and tells where', async () => {
    const texts: [string | Uint8Array, RegExp][] = [
      ['', /at byte 0: expected a value, found the end/],
      ['{', /expected a key, found the end/],
      ['{"a"', /expected ":"/],
      ['{"a":', /expected a value/],
      ['{"a":1', /expected "," or "}"/],
      ['{"a":1,}', /expected a key, found "}"/],
      ['[1,]', /expected a value/],
      ['[1 2]', /at byte 3: expected "," or "]", found "2]"/],
      ['[1}', /expected "," or "]"/],
      ['1 2', /text after the end/],
      ['01', /expected a value/],
      ['1.', /expected a value/],
      ['+1', /expected a value/],
      ['tru', /expected a value/],
      ['undefined', /expected a value/],
      ['"a', /without an end/],
      ['"a\\', /without an end/],
      ['"\\x"', /escape that does not exist/],
      ['"\\u12"', /escape that does not exist/],
      ['"a\nb"', /control character/],
      ["{'a': 1}", /expected a key/],
      ['{"a":1,"a":2}', /the key "a" is given twice/],
      ['{"__proto__":1,"__proto__":2}', /given twice/],
      [Uint8Array.of(0x22, 0xff, 0x22), /not UTF-8/],
      ['\ufeff{}', /expected a value/],
      ['1'.repeat(100), /a number of more than 64 bytes/],
    ]
    for (const [text, message] of texts) {
      const parsed = parse(text)
      await expect(parsed, String(text)).rejects.toMatchObject({ code: 'FILE_CORRUPT' })
      await expect(parsed, String(text)).rejects.toThrow(message)
    }
  })

  it('rejects deep nesting without recursion', async () => {
    expect(await parse('['.repeat(64) + ']'.repeat(64))).toBeInstanceOf(Array)
    await expect(parse('['.repeat(65) + ']'.repeat(65))).rejects.toThrow(/deeper than 64/)
    await expect(parse('['.repeat(1_000_000))).rejects.toThrow(/deeper than 64/)
    await expect(parse('{"a":'.repeat(1_000_000))).rejects.toThrow(/deeper than 64/)
  })

  it('rejects a string of more than a megabyte', async () => {
    await expect(parse(`"${'x'.repeat(1 << 20)}"`)).rejects.toThrow(/more than 1048576 bytes/)
  })

  it('gives the event loop its turns on large texts', async () => {
    const text = JSON.stringify(Object.fromEntries(Array.from({ length: 200_000 }, (_, i) => [`key ${i}`, [i, 'value']])))
    const bytes = Buffer.from(text)
    let turns = 0
    let done = false
    const count = (): void => {
      turns++
      if (!done) setImmediate(count)
    }
    setImmediate(count)
    const value = await parseJson(bytes, 'x', 'JSON')
    done = true
    expect(value).toEqual(JSON.parse(text))
    expect(turns).toBeGreaterThan(5)
    await expect(parseJson(bytes, 'x', 'JSON', AbortSignal.timeout(1))).rejects.toMatchObject({ code: 'ABORTED' })
  })
})

describe('readJsonObject', () => {
  it('rejects other values and large files', async () => {
    await expect(readJsonObject(await temporaryFile('a.json', '[1]'), 100)).rejects.toThrow(/a\.json: JSON: not an object/)
    await expect(readJsonObject(await temporaryFile('b.json', '{"a": 1}'), 4)).rejects.toMatchObject({
      code: 'FORMAT_UNSUPPORTED',
    })
  })
})
