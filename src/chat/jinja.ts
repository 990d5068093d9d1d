/** Runs a chat template: @huggingface/jinja, with what it does differently from Python's Jinja put right, within a Budget. */
import * as library from '@huggingface/jinja'
import { Budget } from './budget.js'

/** What we use of the library, whose own declarations TypeScript does not find in ES modules. */
interface Value {
  readonly type: string
  readonly value: unknown
}
interface Node {
  readonly type: string
}
interface Environment {
  set(name: string, value: unknown): Value
}
interface Interpreter {
  run(program: Node): Value
  evaluate(statement: Node | undefined, environment: Environment): Value
}
interface Library {
  readonly Environment: new () => Environment
  readonly Interpreter: new (environment: Environment) => Interpreter
  tokenize(source: string, options: { lstrip_blocks: boolean; trim_blocks: boolean }): unknown
  parse(tokens: unknown): Node
}
const { Environment, Interpreter, tokenize, parse } = library as unknown as Library

/** A template, ready to render. */
export interface Program {
  readonly nodes: Node
  readonly length: number
}

/** A compiled template may be rendered any number of times. */
export function compileTemplate(source: string): Program {
  // As transformers sets Jinja up.
  return { nodes: parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true })), length: source.length }
}

/**
 * The text of a conversation. `variables` are plain data, by the names that templates use (messages, tools, bos_token, …).
 * Throws what the template raises, the interpreter's own errors, and where time or room for it ends.
 */
export function renderTemplate(program: Program, variables: Readonly<Record<string, unknown>>): string {
  const environment = new Environment()
  for (const [name, value] of Object.entries({ ...globals, ...variables })) environment.set(name, value)
  const budget = new Budget(program.length + JSON.stringify(variables).length)
  const text = new TemplateInterpreter(environment, budget).run(program.nodes)
  budget.made(text, false)
  return String(text.value)
}

const globals: Readonly<Record<string, unknown>> = {
  true: true,
  false: false,
  none: null,
  True: true,
  False: false,
  None: null,
  range,
  raise_exception(message: unknown): never {
    throw new Error(String(message))
  },
  strftime_now: (format: unknown) => strftime(new Date(), String(format)),
}

/** Python's range. Longer ones than any conversation are refused rather than filled with numbers. */
function range(first: number, second?: number, step = 1): number[] {
  const [start, stop] = second === undefined || second === null ? [0, first] : [first, second]
  const length = Math.max(0, Math.ceil((stop - start) / step))
  if (!Number.isFinite(length) || length > 200_000) throw new Error(`range() of ${length} numbers`)
  return Array.from({ length }, (_, i) => start + i * step)
}

const days = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday']
const months = [
  'January',
  'February',
  'March',
  'April',
  'May',
  'June',
  'July',
  'August',
  'September',
  'October',
  'November',
  'December',
]

/** Python's strftime, for dates and times; in English whatever the locale, since models were trained so. */
export function strftime(date: Date, format: string): string {
  const two = (value: number): string => String(value).padStart(2, '0')
  const codes: Readonly<Record<string, () => string>> = {
    Y: () => String(date.getFullYear()),
    y: () => two(date.getFullYear() % 100),
    m: () => two(date.getMonth() + 1),
    B: () => months[date.getMonth()]!,
    b: () => months[date.getMonth()]!.slice(0, 3),
    d: () => two(date.getDate()),
    e: () => String(date.getDate()).padStart(2, ' '),
    A: () => days[date.getDay()]!,
    a: () => days[date.getDay()]!.slice(0, 3),
    H: () => two(date.getHours()),
    I: () => two(date.getHours() % 12 || 12),
    M: () => two(date.getMinutes()),
    S: () => two(date.getSeconds()),
    p: () => (date.getHours() < 12 ? 'AM' : 'PM'),
    F: () => `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`,
    T: () => `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`,
    '%': () => '%',
  }
  // "%-d" leaves the zero away.
  return format.replaceAll(/%(-?)([A-Za-z%])/g, (all, bare: string, code: string) => {
    const text = codes[code]?.()
    if (text === undefined) return all
    return bare ? text.replace(/^[0 ](?=.)/, '') : text
  })
}

const onUndefinedText = new Set(['trim', 'upper', 'lower', 'title', 'capitalize', 'replace', 'indent', 'string'])
/** Filters whose arguments say how much they make; others want theirs as they were written. */
const amplifying = new Set(['indent', 'tojson', 'join', 'replace'])
const onMissingList = new Set(['selectattr', 'rejectattr', 'select', 'reject', 'map'])

/** Nodes whose values are new. Computed ones and variables have been counted before. */
const makes = new Set([
  'ArrayLiteral',
  'BinaryExpression',
  'CallExpression',
  'FilterExpression',
  'FilterStatement',
  'For',
  'ObjectLiteral',
  'TupleLiteral',
])

/** How often `part` is in `text`; the empty one is around every character. */
function count(text: string, part: string): number {
  if (part === '') return text.length + 1
  let found = 0
  for (let at = text.indexOf(part); at >= 0; at = text.indexOf(part, at + part.length)) found++
  return found
}

/**
 * Where the library and Python's Jinja part, Python's way counts: templates were written and tested with that. An already
 * computed value is handed to the library as a node of our own kind, `Computed`.
 */
class TemplateInterpreter extends Interpreter {
  /** Text that `|safe` has marked. Joining it with other text escapes the other for HTML. */
  readonly #safe = new WeakSet<object>()
  readonly #budget: Budget

  constructor(environment: Environment, budget: Budget) {
    super(environment)
    this.#budget = budget
  }

  override evaluate(statement: Node | undefined, environment: Environment): Value {
    this.#budget.step()
    const result = this.#evaluate(statement, environment)
    const type = statement?.type ?? ''
    if (makes.has(type)) this.#budget.made(result, type !== 'BinaryExpression')
    return result
  }

  #evaluate(statement: Node | undefined, environment: Environment): Value {
    switch (statement?.type) {
      case 'CallExpression':
        return this.#call(statement as CallNode, environment)
      case 'Set':
        return this.#set(statement as SetNode, environment)
      case 'Computed':
        return (statement as Computed).value
      case 'FilterExpression':
        return this.#filter(statement as FilterNode, environment)
      case 'BinaryExpression':
        return this.#binary(statement as BinaryNode, environment)
      case 'For':
        return this.#for(statement as ForNode, environment)
      default:
        return super.evaluate(statement, environment)
    }
  }

  #filter(node: FilterNode, environment: Environment): Value {
    let operand = this.evaluate(node.operand, environment)
    const name = (node.filter.type === 'CallExpression' ? node.filter.callee : node.filter)?.value ?? ''
    const missing = operand.type === 'UndefinedValue'
    if (missing && onUndefinedText.has(name)) operand = toValue('')
    if ((missing || operand.type === 'NullValue') && onMissingList.has(name)) operand = toValue([])
    const measured = node.filter.type === 'CallExpression' && amplifying.has(name)
    const call = measured ? this.#arguments(node.filter as CallNode, environment) : undefined
    this.#check(name, operand, call?.values ?? [])
    const filter = call?.node ?? node.filter
    const result = super.evaluate({ ...node, operand: computed(operand), filter } as Node, environment)
    if (name !== 'safe' || result.type !== 'StringValue') return result
    const marked = toValue(result.value)
    this.#safe.add(marked)
    return marked
  }

  #call(node: CallNode, environment: Environment): Value {
    const callee = node.callee as MemberNode
    if (callee.type !== 'MemberExpression' || callee.computed) return super.evaluate(node, environment)
    const receiver = this.evaluate(callee.object, environment)
    const call = this.#arguments(node, environment)
    this.#check(callee.property.value, receiver, call.values)
    return super.evaluate({ ...call.node, callee: { ...callee, object: computed(receiver) } } as Node, environment)
  }

  /** The call with its arguments computed. */
  #arguments(node: CallNode, environment: Environment): { node: CallNode; values: Value[] } {
    const values: Value[] = []
    const compute = (argument: Node): Computed => {
      const value = this.evaluate(argument, environment)
      values.push(value)
      return computed(value)
    }
    const args = node.args.map((argument) => {
      if (argument.type === 'SpreadExpression' || argument.type === 'KeywordSpreadExpression') {
        const spread = argument as SpreadNode
        const value = this.evaluate(spread.argument, environment)
        values.push(...((value.value instanceof Map ? [...value.value.values()] : value.value) as Value[]))
        return { ...spread, argument: computed(value) }
      }
      if (argument.type !== 'KeywordArgumentExpression') return compute(argument)
      return { ...argument, value: compute((argument as KeywordNode).value) }
    })
    return { node: { ...node, args }, values }
  }

  /** Refuses what would make much of little in one go, where no step could stop it. */
  #check(name: string, { value }: Value, args: readonly Value[]): void {
    const budget = this.#budget
    const texts = args.map((argument) => argument.value).filter((argument) => typeof argument === 'string')
    if (name === 'indent' || name === 'tojson') {
      if (args.some((argument) => Number(argument.value) > 100)) throw new Error(`${name} by more than 100 spaces`)
      if (texts.some((text) => text.length > 100)) throw new Error(`${name} by more than 100 characters`)
    } else if (name === 'join' && Array.isArray(value)) {
      budget.text(value.length * (texts[0]?.length ?? 0))
    } else if (typeof value === 'string' && name === 'replace') {
      budget.text(value.length + count(value, texts[0] ?? '') * (texts[1]?.length ?? 0))
    } else if (typeof value === 'string' && name === 'split') {
      // Without a separator it splits at white space.
      budget.items(texts[0] === undefined ? value.length / 2 : count(value, texts[0]))
    } else if (typeof value === 'string' && name === 'list') budget.items(value.length)
  }

  /** `set namespace.name = …` */
  #set(node: SetNode, environment: Environment): Value {
    if (node.assignee.type !== 'MemberExpression' || !node.value) return super.evaluate(node, environment)
    const value = this.evaluate(node.value, environment)
    if (value.type === 'NamespaceValue') throw new Error('a namespace within another namespace')
    return super.evaluate({ ...node, value: computed(value) } as Node, environment)
  }

  #binary(node: BinaryNode, environment: Environment): Value {
    const operator = node.operator.value
    if (operator !== '+' && operator !== '~') return super.evaluate(node, environment)
    let left = this.evaluate(node.left, environment)
    let right = this.evaluate(node.right, environment)
    const safe = this.#safe.has(left) || this.#safe.has(right)
    if (safe) [left, right] = [this.#escaped(left), this.#escaped(right)]
    // The library would write "[object Map]", Python raises. Templates that do it mean the JSON text that OpenAI's clients give
    // for a call's arguments.
    else if (operator === '+' && left.type === 'StringValue') right = this.#asText(right, environment)
    else if (operator === '+' && right.type === 'StringValue') left = this.#asText(left, environment)
    const result = super.evaluate({ ...node, left: computed(left), right: computed(right) } as Node, environment)
    if (safe) this.#safe.add(result)
    return result
  }

  #asText(value: Value, environment: Environment): Value {
    if (value.type === 'ArrayValue' || value.type === 'TupleValue') throw new Error('a list cannot be added to text')
    if (value.type !== 'ObjectValue') return value
    const filter = { type: 'Identifier', value: 'tojson' }
    return super.evaluate({ type: 'FilterExpression', operand: computed(value), filter } as Node, environment)
  }

  #escaped(value: Value): Value {
    if (value.type !== 'StringValue' || this.#safe.has(value)) return value
    return toValue((value.value as string).replaceAll(/[&<>"']/g, (character) => htmlEscapes[character]!))
  }

  /** Pairs may be tuples, of which the library does not take loop variables. */
  #for(node: ForNode, environment: Environment): Value {
    const withCondition = node.iterable.type === 'SelectExpression'
    const list = this.evaluate(withCondition ? node.iterable.lhs : node.iterable, environment)
    const given = (over: Value): Node => {
      return { ...node, iterable: withCondition ? { ...node.iterable, lhs: computed(over) } : computed(over) } as Node
    }
    const length = Array.isArray(list.value) ? list.value.length : list.value instanceof Map ? list.value.size : 0
    if (node.loopvar.type !== 'TupleLiteral' || list.type !== 'ArrayValue') {
      return this.#budget.loop(length, () => super.evaluate(given(list), environment))
    }
    const items = toValue([])
    for (const item of list.value as Value[]) {
      const pair = item.type === 'TupleValue' ? toValue([]) : item
      if (pair !== item) (pair.value as Value[]).push(...(item.value as Value[]))
      ;(items.value as Value[]).push(pair)
    }
    return this.#budget.loop(length, () => super.evaluate(given(items), environment))
  }
}

const htmlEscapes: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&#34;', "'": '&#39;' }

interface Computed extends Node {
  readonly value: Value
}
interface FilterNode extends Node {
  readonly operand: Node
  readonly filter: Node & { readonly value?: string; readonly callee?: { readonly value?: string } }
}
interface CallNode extends Node {
  readonly callee: Node & { readonly value?: string }
  readonly args: readonly Node[]
}
interface MemberNode extends Node {
  readonly object: Node
  readonly property: { readonly value: string }
  readonly computed: boolean
}
interface SpreadNode extends Node {
  readonly argument: Node
}
interface KeywordNode extends Node {
  readonly value: Node
}
interface SetNode extends Node {
  readonly assignee: Node
  readonly value: Node | null
}
interface BinaryNode extends Node {
  readonly operator: { readonly value: string }
  readonly left: Node
  readonly right: Node
}
interface ForNode extends Node {
  readonly loopvar: { readonly type: string }
  readonly iterable: Node & { readonly lhs: Node }
}

const computed = (value: Value): Computed => ({ type: 'Computed', value })

/** The library's own wrapping; its classes are not exported. */
const toValue = (value: unknown): Value => new Environment().set('value', value)
