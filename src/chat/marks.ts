/** Tells callers' text from control tokens in a rendered conversation: it is marked before a template mixes it with its own. */

/** Finds the spellings of a vocabulary's control tokens in text; the longest one at a place. */
export class ControlTokens {
  readonly #spellings: ReadonlySet<string>
  readonly #lengths: readonly number[]
  /** What they begin with. */
  readonly firsts: ReadonlySet<string>

  constructor(spellings: Iterable<string>) {
    this.#spellings = new Set([...spellings].filter((text) => text !== ''))
    this.#lengths = [...new Set([...this.#spellings].map((text) => text.length))].sort((a, b) => b - a)
    this.firsts = new Set([...this.#spellings].map((text) => text[0]!))
  }

  /** [start, end] of each, in order. */
  find(text: string): [start: number, end: number][] {
    const found: [number, number][] = []
    for (let at = 0; at < text.length; ) {
      const spelled = (length: number): boolean =>
        at + length <= text.length && this.#spellings.has(text.slice(at, at + length))
      const length = this.firsts.has(text[at]!) ? this.#lengths.find(spelled) : undefined
      if (length !== undefined) found.push([at, at + length])
      at += length ?? 1
    }
    return found
  }
}

/**
 * Marking puts a private character in the place of a control token's first one: nothing else about the text changes, so
 * templates that trim, split, slice or measure it do what they always do. Each character has its own mark, and none of the
 * marks occurs in what is marked or in the template, so texts that hold private characters themselves come back unharmed.
 */
export class Marks {
  readonly #marks = new Map<string, string>()
  readonly #marked: RegExp | undefined

  /** `all`: everything that a template is given, and itself. */
  constructor(
    private readonly control: ControlTokens,
    all: string,
  ) {
    let code = 0xe000
    for (const first of control.firsts) {
      while (all.includes(String.fromCodePoint(code)) || all.includes(escape(code))) code = following(code)
      this.#marks.set(first, String.fromCodePoint(code))
      code = following(code)
    }
    if (this.#marks.size === 0) return
    const escaped = (mark: string): string => escape(mark.codePointAt(0)!).replaceAll('\\', '\\\\')
    const alternatives = [...this.#marks.values()].flatMap((mark) => [mark, escaped(mark)])
    this.#marked = new RegExp(alternatives.join('|'), 'giu')
  }

  /** Marks control tokens that are spelled out in the text. */
  mark(text: string): string {
    let marked = ''
    let done = 0
    for (const [start] of this.control.find(text)) {
      marked += text.slice(done, start) + this.#marks.get(text[start]!)!
      done = start + 1
    }
    // A control token may lie within the rest of another.
    return done === 0 ? text : this.#again(marked + text.slice(done))
  }

  #again(marked: string): string {
    return this.control.find(marked).length > 0 ? this.mark(marked) : marked
  }

  /** Marks every character that a control token could begin with, so that no rearrangement of the text makes one. */
  markAll(text: string): string {
    // Names of roles and fields must stay what they are, should a control token begin with a letter.
    return text.replaceAll(/\W/g, (unit) => this.#marks.get(unit) ?? unit)
  }

  isMarked(text: string): boolean {
    return this.#marked !== undefined && text.search(this.#marked) >= 0
  }

  /** The text as it was, in parts that no control token lies in whole: cut behind every marked character. */
  cut(text: string): string[] {
    if (!this.#marked) return [text]
    const parts: string[] = []
    let from = 0
    for (const { 0: mark, index } of text.matchAll(this.#marked)) {
      parts.push(this.unmark(text.slice(from, index + mark.length)))
      from = index + mark.length
    }
    return [...parts, text.slice(from)].filter((part) => part !== '')
  }

  /** The text as it was. */
  unmark(text: string): string {
    if (!this.#marked) return text
    const originals = new Map<string, string>()
    for (const [first, mark] of this.#marks) {
      originals.set(mark, first)
      originals.set(escape(mark.codePointAt(0)!), first)
    }
    return text.replace(this.#marked, (mark) => originals.get(mark) ?? originals.get(mark.toLowerCase())!)
  }
}

/** The next private character: those of the basic plane, then those beyond. */
const following = (code: number): number => (code === 0xf8ff ? 0xf0000 : code + 1)

/** How `tojson(ensure_ascii=true)` writes a mark. */
function escape(code: number): string {
  const units = String.fromCodePoint(code).split('')
  return units.map((unit) => `\\u${unit.charCodeAt(0).toString(16)}`).join('')
}

/** `change` for every string in plain data, names of fields included. */
export function mapStrings(value: unknown, change: (text: string) => string): unknown {
  if (typeof value === 'string') return change(value)
  if (Array.isArray(value)) return value.map((item: unknown) => mapStrings(item, change))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, mapStrings(item, change)]))
}
