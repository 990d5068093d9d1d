/**
 * Turns the regular expressions of tokenizer.json (Oniguruma's Ruby syntax) into programs for native/tokenizer/regex.cc, which
 * backtracks as the original does, within a bound on its steps. JavaScript's RegExp says which characters are in a class, so that
 * every property that Node knows can be used. What has no equal here is refused by name.
 */
import { Turn } from '../formats/file.js'

/** Instructions are run in turn; places are indices of them. */
export type RegexInstruction =
  /** One character of a set. */
  | readonly ['set', number]
  /** From `min` to `max` characters of a set, as many as possible (greedy, possessive) or as few (lazy); max -1: no limit. */
  | readonly ['run', set: number, min: number, max: number, mode: RepeatMode]
  /** Goes on at the first place, and at the second one if that fails. */
  | readonly ['split', number, number]
  | readonly ['jump', number]
  /** What follows up to a 'match' must match here (or must not); then goes on at the place without having moved. */
  | readonly ['look', number, negated: boolean]
  /** The first match of what follows up to a 'match', never another one; then goes on at the place. */
  | readonly ['atomic', number]
  /** The character before is in the set (or is not, or there is none). */
  | readonly ['behind', number, negated: boolean]
  | readonly ['start']
  | readonly ['end']
  | readonly ['match']

export type RepeatMode = 'greedy' | 'lazy' | 'possessive'

export interface RegexProgram {
  /** First and last code point of each range, ascending. */
  readonly sets: readonly (readonly number[])[]
  readonly code: readonly RegexInstruction[]
}

/** Why an expression cannot be translated. */
export class RegexUnsupported extends Error {}

const maxInstructions = 4096
const maxRepeat = 1000
const maxNesting = 50
const maxLength = 16_384

/** Characters as a class of JavaScript's v mode; `fold`: in any case. */
interface SetNode {
  readonly kind: 'set'
  readonly source: string
  readonly fold: boolean
  /** Set if it is this very character. */
  readonly literal?: string
}

type Node =
  | SetNode
  | { readonly kind: 'sequence' | 'choice'; readonly nodes: readonly Node[] }
  | { readonly kind: 'repeat'; readonly node: Node; readonly min: number; readonly max: number; readonly mode: RepeatMode }
  | { readonly kind: 'look'; readonly node: Node; readonly negated: boolean }
  | { readonly kind: 'behind'; readonly node: SetNode; readonly negated: boolean }
  | { readonly kind: 'atomic'; readonly node: Node }
  | { readonly kind: 'start' | 'end' }

interface Flags {
  readonly fold: boolean
  /** The dot matches line breaks too. */
  readonly dotAll: boolean
}

const set = (source: string, fold = false): SetNode => ({ kind: 'set', source, fold })
const sequence = (...nodes: Node[]): Node => ({ kind: 'sequence', nodes })
const choice = (...nodes: Node[]): Node => ({ kind: 'choice', nodes })

/** What words are made of, in classes too; \w by itself takes some numbers of Latin 1 along. */
const wordClass = '\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}'
const wordCharacters = `${wordClass}²³¹¼½¾`

/** As Oniguruma defines them for Unicode. JavaScript's \s, \w and \d are others. */
const shorthands: Readonly<Record<string, string>> = {
  s: '\\p{White_Space}',
  S: '\\P{White_Space}',
  d: '\\p{Nd}',
  D: '\\P{Nd}',
  w: `[${wordCharacters}]`,
  W: `[^${wordCharacters}]`,
  h: '[0-9a-fA-F]',
  H: '[^0-9a-fA-F]',
}
/** [[:name:]] and \p{name}. */
const posix: Readonly<Record<string, string>> = {
  alnum: '[\\p{Alphabetic}\\p{Nd}]',
  alpha: '\\p{Alphabetic}',
  ascii: '[\\u{0}-\\u{7f}]',
  blank: '[\\p{Zs}\\t]',
  cntrl: '\\p{Cc}',
  digit: '\\p{Nd}',
  lower: '\\p{Lowercase}',
  punct: '[\\p{P}\\p{S}]',
  space: '\\p{White_Space}',
  upper: '\\p{Uppercase}',
  word: `[${wordClass}]`,
  xdigit: shorthands.h!,
}
const controls: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', f: '\f', v: '\v', a: '\x07', e: '\x1b' }

/** Letters that match together another one in any case, as "ss" does "ß". */
const foldsTogether = /ss|ff|fi|fl|st|ʼn|i\u0307|j\u030c/i

const word = set(shorthands.w!)
const lineFeed = set('\\n')

class Parser {
  #at = 0
  #depth = 0
  readonly #text: readonly string[]

  constructor(text: string) {
    if (text.length > maxLength) throw new RegexUnsupported(`longer than ${maxLength} characters`)
    this.#text = [...text]
  }

  parse(): Node {
    const node = this.#choice({ fold: false, dotAll: false })
    if (this.#at < this.#text.length) throw this.#unsupported('a ) without (')
    return node
  }

  #unsupported(what: string): RegexUnsupported {
    return new RegexUnsupported(`${what} at character ${this.#at}`)
  }

  #peek(text: string): boolean {
    return [...text].every((character, i) => this.#text[this.#at + i] === character)
  }

  #take(text: string): boolean {
    if (!this.#peek(text)) return false
    this.#at += text.length
    return true
  }

  #next(): string {
    const character = this.#text[this.#at++]
    if (character === undefined) throw this.#unsupported('an unexpected end')
    return character
  }

  /** Up to a character, which is taken too. */
  #until(end: string): string {
    let found = ''
    while (!this.#take(end)) found += this.#next()
    return found
  }

  #choice(flags: Flags): Node {
    if (++this.#depth > maxNesting) throw this.#unsupported('too deep a nesting')
    const options: Node[] = []
    let items: Node[] = []
    while (this.#at < this.#text.length && !this.#peek(')')) {
      if (this.#take('|')) {
        options.push(joined(items))
        items = []
      } else {
        const atom = this.#atom(flags)
        if (atom) items.push(this.#repeated(atom))
      }
    }
    this.#depth--
    return options.length === 0 ? joined(items) : choice(...options, joined(items))
  }

  #repeated(node: Node): Node {
    const [min, max, exact] = this.#quantifier() ?? []
    if (min === undefined || max === undefined) return node
    const braces = this.#text[this.#at - 1] === '}'
    let mode: RepeatMode = 'greedy'
    if (this.#peek('?')) {
      // Ruby reads {n}? and {n,m}+ otherwise than other dialects do.
      if (exact) throw this.#unsupported('{n}?')
      this.#at++
      mode = 'lazy'
    } else if (this.#peek('+')) {
      if (braces) throw this.#unsupported('{n,m}+')
      this.#at++
      mode = 'possessive'
    }
    if (this.#quantifier()) throw this.#unsupported('a quantifier of a quantifier')
    return { kind: 'repeat', node, min, max, mode }
  }

  #quantifier(): [min: number, max: number, exact: boolean] | undefined {
    if (this.#take('*')) return [0, -1, false]
    if (this.#take('+')) return [1, -1, false]
    if (this.#take('?')) return [0, 1, false]
    // Anything else in braces stands for itself.
    const [all, least, comma, most] = /^\{(\d*)(,?)(\d*)\}/.exec(this.#text.slice(this.#at, this.#at + 24).join('')) ?? []
    if (all === undefined || (least === '' && most === '')) return undefined
    this.#at += all.length
    const min = Number(least)
    const max = comma === '' ? min : most === '' ? -1 : Number(most)
    if (min > maxRepeat || max > maxRepeat || (max >= 0 && max < min)) throw this.#unsupported(all)
    return [min, max, comma === '']
  }

  /** Null for what matches nothing by itself, like a comment. */
  #atom(flags: Flags): Node | null {
    const character = this.#next()
    switch (character) {
      case '(':
        return this.#group(flags)
      case '[':
        return set(this.#class(), flags.fold)
      case '.':
        return set(flags.dotAll ? '[\\u{0}-\\u{10ffff}]' : '[^\\n]')
      case '^':
        return choice({ kind: 'start' }, sequence({ kind: 'behind', node: lineFeed, negated: false }, look({ kind: 'end' }, true)))
      case '$':
        return choice({ kind: 'end' }, look(lineFeed))
      case '\\':
        return this.#escape(flags)
      case '*':
      case '+':
      case '?':
        throw this.#unsupported('a quantifier of nothing')
    }
    return { ...set(quoted(character), flags.fold), literal: character }
  }

  #group(flags: Flags): Node {
    const body = (inner = flags): Node => {
      const node = this.#choice(inner)
      if (!this.#take(')')) throw this.#unsupported('a ( without )')
      return node
    }
    if (!this.#take('?')) return body()
    if (this.#take(':')) return body()
    if (this.#take('>')) return { kind: 'atomic', node: body() }
    if (this.#take('=')) return look(body())
    if (this.#take('!')) return look(body(), true)
    if (this.#take('<=')) return this.#behind(body(), false)
    if (this.#take('<!')) return this.#behind(body(), true)
    if (this.#take('#')) {
      this.#until(')')
      return sequence()
    }
    if (this.#take('<')) {
      this.#until('>')
      return body()
    }
    let [inner, on] = [flags, true]
    while (!this.#peek(':') && !this.#peek(')')) {
      const flag = this.#next()
      if (flag === '-') on = false
      else if (flag === 'i') inner = { ...inner, fold: on }
      else if (flag === 'm') inner = { ...inner, dotAll: on }
      else throw this.#unsupported(`(?${flag}`)
    }
    if (this.#take(':')) return body(inner)
    // For all that follows in this group.
    this.#at++
    return this.#choice(inner)
  }

  #behind(node: Node, negated: boolean): Node {
    if (node.kind === 'set') return { kind: 'behind', node, negated }
    if (node.kind === 'choice' && !negated) return choice(...node.nodes.map((option) => this.#behind(option, false)))
    throw this.#unsupported('a look behind at more than one character')
  }

  #escape(flags: Flags): Node {
    const character = this.#next()
    switch (character) {
      case 'A':
        return { kind: 'start' }
      case 'z':
        return { kind: 'end' }
      case 'Z':
        return choice({ kind: 'end' }, look(sequence(lineFeed, { kind: 'end' })))
      case 'b':
      case 'B': {
        const at = (before: boolean, after: boolean): Node =>
          sequence({ kind: 'behind', node: word, negated: !before }, look(word, !after))
        return character === 'b' ? choice(at(true, false), at(false, true)) : choice(at(true, true), at(false, false))
      }
    }
    this.#at--
    const { source, literal } = this.#escaped()
    return { ...set(source, flags.fold), ...(literal !== undefined && { literal }) }
  }

  /** What follows a backslash, in a class or outside of one. */
  #escaped(): { source: string; literal?: string } {
    const character = this.#next()
    if (Object.hasOwn(shorthands, character)) return { source: shorthands[character]! }
    if (character === 'p' || character === 'P') return { source: this.#property(character === 'P') }
    const literal = this.#escapedCharacter(character)
    return { source: quoted(literal), literal }
  }

  #escapedCharacter(character: string): string {
    if (Object.hasOwn(controls, character)) return controls[character]!
    if (character === 'x' || character === 'u') {
      const digits = this.#take('{') ? this.#until('}') : this.#next() + this.#next() + (character === 'u' ? this.#next() + this.#next() : '')
      const code = /^[0-9a-fA-F]{1,6}$/.test(digits) ? Number.parseInt(digits, 16) : NaN
      if (!(code <= 0x10ffff) || (code >= 0xd800 && code < 0xe000)) throw this.#unsupported(`\\${character}${digits}`)
      return String.fromCodePoint(code)
    }
    if (character === '0' && !/\d/.test(this.#text[this.#at] ?? '')) return '\0'
    if (/[\dA-Za-z]/.test(character)) throw this.#unsupported(`\\${character}`)
    return character
  }

  /** {L}, {^L} or {Han}. */
  #property(negated: boolean): string {
    if (!this.#take('{')) throw this.#unsupported('\\p without {')
    if (this.#take('^')) negated = !negated
    const name = this.#until('}')
    const known = posix[name.toLowerCase()]
    if (known && Object.hasOwn(posix, name.toLowerCase())) return negated ? `[^${known}]` : known
    // u, not v: there a property may stand for texts of several characters.
    const candidates = [name, `Script=${name}`].filter((candidate) => /^[A-Za-z0-9_=]+$/.test(candidate))
    const found = candidates.find((candidate) => compiles(`\\p{${candidate}}`, 'u'))
    if (!found) throw this.#unsupported(`\\p{${name}}`)
    return `\\${negated ? 'P' : 'p'}{${found}}`
  }

  /** After its [, through its ]. */
  #class(): string {
    if (++this.#depth > maxNesting) throw this.#unsupported('too deep a nesting')
    const negated = this.#take('^')
    const operands: string[] = []
    let parts = ''
    for (let first = true; first || !this.#peek(']'); first = false) {
      if (this.#take('&&')) {
        operands.push(parts)
        parts = ''
        continue
      }
      const { source, literal } = this.#classItem()
      const range = literal !== undefined && this.#peek('-') && this.#text[this.#at + 1] !== ']'
      if (!range) {
        parts += source
        continue
      }
      this.#at++
      const end = this.#classItem()
      if (end.literal === undefined || end.literal.codePointAt(0)! < literal.codePointAt(0)!) throw this.#unsupported('a range')
      parts += `${source}-${end.source}`
    }
    this.#at++
    this.#depth--
    operands.push(parts)
    if (operands.includes('')) throw this.#unsupported('an empty class')
    const body = operands.length === 1 ? operands[0]! : operands.map((operand) => `[${operand}]`).join('&&')
    return `[${negated ? '^' : ''}${body}]`
  }

  #classItem(): { source: string; literal?: string } {
    if (this.#take('[:')) {
      const negated = this.#take('^')
      const name = this.#until(':')
      if (!this.#take(']') || !Object.hasOwn(posix, name)) throw this.#unsupported(`[:${name}:]`)
      return { source: negated ? `[^${posix[name]!}]` : posix[name]! }
    }
    if (this.#take('[')) return { source: this.#class() }
    if (this.#take('\\b')) return { source: '\\u{8}', literal: '\b' }
    if (this.#take('\\w')) return { source: posix.word! }
    if (this.#take('\\W')) return { source: `[^${wordClass}]` }
    if (this.#take('\\')) return this.#escaped()
    const literal = this.#next()
    return { source: quoted(literal), literal }
  }
}

function look(node: Node, negated = false): Node {
  return { kind: 'look', node, negated }
}

function joined(items: readonly Node[]): Node {
  const folded = items.map((item) => (item.kind === 'set' && item.fold && item.literal !== undefined ? item.literal : ' ')).join('')
  const [together] = foldsTogether.exec(folded) ?? []
  if (together !== undefined) throw new RegexUnsupported(`(?i:${together}), which matches single letters too`)
  return items.length === 1 ? items[0]! : { kind: 'sequence', nodes: items }
}

function quoted(character: string): string {
  return `\\u{${character.codePointAt(0)!.toString(16)}}`
}

function compiles(source: string, flags: string): boolean {
  try {
    return new RegExp(source, flags) !== undefined
  } catch {
    return false
  }
}

/** Whether a node can match without moving. */
function mayBeEmpty(node: Node): boolean {
  switch (node.kind) {
    case 'set':
      return false
    case 'sequence':
      return node.nodes.every(mayBeEmpty)
    case 'choice':
      return node.nodes.some(mayBeEmpty)
    case 'repeat':
      return node.min === 0 || mayBeEmpty(node.node)
    case 'atomic':
      return mayBeEmpty(node.node)
    default:
      return true
  }
}

class Writer {
  readonly code: RegexInstruction[] = []
  readonly sets = new Map<string, { index: number; node: SetNode }>()

  write(node: Node): void {
    switch (node.kind) {
      case 'set':
        return this.#add(['set', this.#set(node)])
      case 'sequence':
        for (const each of node.nodes) this.write(each)
        return
      case 'choice':
        return this.#choice(node.nodes)
      case 'repeat':
        return this.#repeat(node)
      case 'look':
        return this.#apart((end) => ['look', end, node.negated], node.node)
      case 'atomic':
        return this.#apart((end) => ['atomic', end], node.node)
      case 'behind':
        return this.#add(['behind', this.#set(node.node), node.negated])
      default:
        return this.#add([node.kind])
    }
  }

  #add(instruction: RegexInstruction): void {
    if (this.code.push(instruction) > maxInstructions) throw new RegexUnsupported('too long a program')
  }

  #set(node: SetNode): number {
    const key = `${node.fold ? 'i' : ''}${node.source}`
    const known = this.sets.get(key)
    if (known) return known.index
    this.sets.set(key, { index: this.sets.size, node })
    return this.sets.size - 1
  }

  #apart(instruction: (end: number) => RegexInstruction, node: Node): void {
    const at = this.code.length
    this.#add(['start'])
    this.write(node)
    this.#add(['match'])
    this.code[at] = instruction(this.code.length)
  }

  #choice(options: readonly Node[]): void {
    const jumps: number[] = []
    for (const [i, option] of options.entries()) {
      const at = this.code.length
      const last = i === options.length - 1
      if (!last) this.#add(['start'])
      this.write(option)
      if (last) break
      jumps.push(this.code.length)
      this.#add(['start'])
      this.code[at] = ['split', at + 1, this.code.length]
    }
    for (const at of jumps) this.code[at] = ['jump', this.code.length]
  }

  #repeat({ node, min, max, mode }: Extract<Node, { kind: 'repeat' }>): void {
    if (node.kind === 'set') return this.#add(['run', this.#set(node), min, max, mode])
    if (mode === 'possessive') {
      this.#apart((end) => ['atomic', end], { kind: 'repeat', node, min, max, mode: 'greedy' })
      return
    }
    if (max < 0 && mayBeEmpty(node)) throw new RegexUnsupported('a repeated group that may match nothing')
    const fork = (on: number, out: number): RegexInstruction => (mode === 'lazy' ? ['split', out, on] : ['split', on, out])
    for (let i = 0; i < min; i++) this.write(node)
    const forks: number[] = []
    for (let i = min; i < max || (max < 0 && i === min); i++) {
      forks.push(this.code.length)
      this.#add(['start'])
      this.write(node)
    }
    if (max < 0) this.#add(['jump', forks[0]!])
    for (const at of forks) this.code[at] = fork(at + 1, this.code.length)
  }
}

/** Code points per round; well under a millisecond. */
const step = 0x2000

async function rangesOf({ source, fold, literal }: SetNode, turn: Turn): Promise<number[]> {
  if (literal !== undefined && !fold) return [literal.codePointAt(0)!, literal.codePointAt(0)!]
  const members = new RegExp(`${source}+`, fold ? 'giv' : 'gv')
  const ranges: number[] = []
  for (let first = 0; first < 0x110000; first += step) {
    if (first >= 0xd800 && first < 0xe000) continue
    let all = ''
    for (let code = first; code < first + step; code++) if (code < 0xd800 || code >= 0xe000) all += String.fromCodePoint(code)
    for (const [run] of all.matchAll(members)) {
      const from = run.codePointAt(0)!
      const low = run.charCodeAt(run.length - 1)
      const to = low >= 0xdc00 && low < 0xe000 ? run.codePointAt(run.length - 2)! : low
      if (ranges.at(-1) === from - 1) ranges[ranges.length - 1] = to
      else ranges.push(from, to)
    }
    if (turn.over()) await turn.next()
  }
  return ranges
}

/** The last ones that were worked out: expressions share most of their classes. Some tens of megabytes at worst. */
const ranges = new Map<string, readonly number[]>()
const maxRanges = 256

async function cachedRanges(key: string, node: SetNode, turn: Turn): Promise<readonly number[]> {
  const known = ranges.get(key)
  if (known) return known
  if (!compiles(node.source, 'v')) throw new RegexUnsupported(node.source)
  const found = await rangesOf(node, turn)
  if (ranges.size >= maxRanges) ranges.clear()
  ranges.set(key, found)
  return found
}

/**
 * The program of an expression. Gives the event loop its turns.
 * @throws RegexUnsupported with what it is that has no equal here
 */
export async function compileRegex(regex: string): Promise<RegexProgram> {
  const writer = new Writer()
  writer.write(new Parser(regex).parse())
  const sets: (readonly number[])[] = []
  const turn = new Turn()
  for (const [key, { node }] of writer.sets) sets.push(await cachedRanges(key, node, turn))
  return { sets, code: [...writer.code, ['match']] }
}
