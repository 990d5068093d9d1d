/** Changes to files as accidents and enemies make them: of bytes, of JSON's structure, of a template's parts. Seeded. */

/** A linear congruential generator: the same numbers for the same seed. */
export class Random {
  constructor(private state: number) {
    this.state >>>= 0
  }

  /** A whole number below `limit`. */
  below(limit: number): number {
    this.state = (Math.imul(this.state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((this.state / 2 ** 32) * limit)
  }

  of<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)]!
  }
}

const numbers = [0n, 1n, 2n, 7n, 8n, 9n, 12n, 13n, 0x7fn, 0x80n, 0xffn, 0xffffn, 2n ** 31n - 1n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 63n, 2n ** 64n - 1n]

/** Some bytes changed, most of them in the first `head`. */
export function mutateBytes(bytes: Buffer, head: number, random: Random): Buffer {
  let changed = Buffer.from(bytes)
  for (let n = 1 + random.below(3); n > 0; n--) {
    const at = random.below(Math.max(1, Math.min(head, changed.length) - 8))
    const wide = changed.length >= at + 8
    switch (random.below(8)) {
      case 0:
        changed[at] = random.below(256)
        break
      case 1:
        if (wide) changed.writeUInt32LE(Number(random.of(numbers) & 0xffff_ffffn), at)
        break
      case 2:
        if (wide) changed.writeBigUInt64LE(random.of(numbers), at)
        break
      case 3:
        changed = Buffer.concat([changed.subarray(0, at), changed.subarray(at + 1 + random.below(40))])
        break
      case 4:
        changed = Buffer.concat([changed.subarray(0, at), Buffer.alloc(random.below(40), random.below(256)), changed.subarray(at)])
        break
      case 5:
        changed.copyWithin(at, random.below(head), random.below(head))
        break
      case 6:
        changed = changed.subarray(0, at)
        break
      case 7:
        changed[at] = changed[at]! ^ (1 << random.below(8))
    }
  }
  return changed
}

type Json = unknown

const values: readonly (() => Json)[] = [
  () => null,
  () => true,
  () => 0,
  () => -1,
  () => 1,
  () => 0.5,
  () => 7,
  () => 2 ** 31,
  () => 2 ** 53,
  () => 1e308,
  () => -1e-300,
  () => '',
  () => 'x',
  () => '\ud800',
  () => '../../x',
  () => '\0',
  () => 'a'.repeat(5000),
  () => [],
  () => ({}),
  () => [[[[[[]]]]]],
  () => [null],
  () => ({ __proto__: 1, constructor: 2, length: -1 }),
]

/** All containers in a value, the value itself among them. */
function containers(value: Json, found: object[] = []): object[] {
  if (typeof value !== 'object' || value === null) return found
  found.push(value)
  // Vocabularies have thousands of entries; the rest of a file is small.
  for (const inner of Object.values(value).slice(0, 200)) containers(inner, found)
  return found
}

/** JSON with some of its members replaced, taken away, given twice, swapped or nested. Not always JSON any more. */
export function mutateJson(text: string, random: Random): string {
  const root: Json = JSON.parse(text)
  const all = containers(root)
  let twice = false
  for (let n = 1 + random.below(3); n > 0; n--) {
    const into = random.of(all) as Record<string, Json>
    const keys = Object.keys(into)
    const key = keys.length > 0 ? random.of(keys) : 'x'
    switch (random.below(7)) {
      case 0:
        delete into[key]
        break
      case 1:
      case 2:
        into[key] = random.of(values)()
        break
      case 3: {
        const other = random.of(all) as Record<string, Json>
        // A copy: a part of itself would have no end.
        into[key] = JSON.parse(JSON.stringify(Object.values(other)[0] ?? null))
        break
      }
      case 4:
        into[random.of(['type', 'pattern', 'added_tokens', 'model', 'weight_map', 'x', '__proto__'])] = random.of(values)()
        break
      case 5:
        if (typeof into[key] === 'number') into[key] = (into[key] as number) * random.of([-1, 0, 2, 1000, 1e12]) + random.below(3) - 1
        else if (typeof into[key] === 'string') into[key] = (into[key] as string).slice(random.below(3)) + random.of(['', 'x', '\n', '\u0301', '🦙'])
        break
      case 6:
        twice = true
    }
  }
  const written = JSON.stringify(root)
  if (!twice) return written
  switch (random.below(4)) {
    case 0:
      // The first key again.
      return written.replace(/^\{("[^"]*":)/, '{$1null,$1')
    case 1:
      return written.slice(0, random.below(written.length))
    case 2:
      return `${'['.repeat(1000)}${written}`
    default:
      return mutateBytes(Buffer.from(written), written.length, random).toString()
  }
}

const pieces = [
  '{{ messages }}',
  '{% for m in messages %}',
  '{% endfor %}',
  '{% if m %}',
  '{% else %}',
  '{% endif %}',
  '{% set x = x ~ x %}',
  "{% set x = 'ab' * 9 %}",
  '{% set x = [messages, messages] %}',
  '{% set ns = namespace(a=[]) %}',
  '{% set ns.a = ns.a + ns.a + [1] %}',
  '{% for i in range(200000) %}',
  '{% for i in range(99999999999) %}',
  '{% macro f(a) %}{{ f(a) }}{% endmacro %}{{ f(1) }}',
  '{{ x | tojson(indent=99) }}',
  "{{ messages | join('x') }}",
  '{{ (x or "y") | replace("", x or "zz") }}',
  '{{ raise_exception("no") }}',
  '{{ messages[0].content | upper | trim }}',
  '{{ messages[9].nothing.at.all }}',
  '{% generation %}',
  '{{ __proto__.constructor }}',
  '{{ ((((((((((1)))))))))) }}',
  '{{ "a" ~ ',
  '{# comment',
  'text',
]

/** A template of parts in no sensible order, or a good one with parts in it. */
export function makeTemplate(good: string, random: Random): string {
  if (random.below(3) === 0) return mutateBytes(Buffer.from(good), good.length, random).toString()
  let template = random.below(2) ? good : ''
  for (let n = 1 + random.below(12); n > 0; n--) {
    const at = random.below(template.length + 1)
    template = template.slice(0, at) + random.of(pieces) + template.slice(at)
  }
  return template
}
