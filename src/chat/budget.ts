/** What one rendering may use: text, lists and time in proportion to a conversation. A template is a program from anywhere. */

interface Value {
  readonly type: string
  readonly value: unknown
}

const timeLimitMs = 2000
const maxItems = 200_000
/** What everything that filters and calls have made may be together, as a multiple of the longest text. */
const generations = 32

export class Budget {
  readonly #maxText: number
  readonly #end = performance.now() + timeLimitMs
  readonly #weights = new WeakMap<object, number>()
  #steps = 0
  #made = 0
  #looping = 0

  /** `input`: characters of the template and of all that it is given. */
  constructor(input: number) {
    this.#maxText = 2 ** 20 + 4 * input
  }

  step(): void {
    if (++this.#steps % 256 === 0 && performance.now() > this.#end) {
      throw new Error(`it takes longer than ${timeLimitMs / 1000} seconds`)
    }
  }

  /** Counts a value that an expression has made. Joining texts copies nothing, so only `copied` ones add up. */
  made(value: Value, copied: boolean): void {
    const weight = this.#weigh(value)
    this.text(weight)
    if (!copied) return
    this.#made += weight
    if (this.#made > generations * this.#maxText) throw new Error('it makes too much text')
  }

  /** Throws for a text of so many characters, before anybody makes it. */
  text(length: number): void {
    if (length > this.#maxText) throw new Error(`it makes a text or a list of more than ${this.#maxText} characters`)
  }

  items(count: number): void {
    if (count > maxItems) throw new Error(`it makes a list of more than ${maxItems} items`)
  }

  /** The library makes a scope for each item before a loop begins, so nested loops share one limit. */
  loop<T>(count: number, run: () => T): T {
    this.#looping += count
    try {
      this.items(this.#looping)
      return run()
    } finally {
      this.#looping -= count
    }
  }

  /** Characters of a value written out: lists may share items, and double with every line of a template. */
  #weigh(value: Value, nested = false): number {
    if (value.type === 'StringValue') return (value.value as string).length + 1
    const items =
      value.value instanceof Map
        ? [...(value.value as Map<string, Value>).values()]
        : Array.isArray(value.value)
          ? (value.value as Value[])
          : undefined
    if (!items) return 8
    // All else that holds values never changes; namespaces within namespaces could be made to hold each other.
    if (value.type === 'NamespaceValue' && nested) throw new Error('a namespace within a list or another namespace')
    const known = this.#weights.get(value)
    if (known !== undefined) return known
    let weight = 8
    for (const item of items) {
      weight += this.#weigh(item, true) + 8
      this.text(weight)
    }
    if (value.type !== 'NamespaceValue') this.#weights.set(value, weight)
    return weight
  }
}
