/** What a conversation is made of, and how callers' messages are checked before a template sees them. */
import { invalid } from '../options.js'

export interface TextPart {
  readonly type: 'text'
  readonly text: string
}

export interface ToolCall {
  readonly id?: string
  readonly type?: 'function'
  /** Most templates want the arguments as an object, some as JSON text; they get what you pass. */
  readonly function: { readonly name: string; readonly arguments: unknown }
}

/** One turn. Fields that are not named here are handed to the template as well; all must be plain data. */
export interface ChatMessage {
  readonly role: 'system' | 'developer' | 'user' | 'assistant' | 'tool'
  /** Text, or parts that are joined. Always text: what looks like a control token in it is none. Null beside tool calls. */
  readonly content?: string | readonly TextPart[] | null
  readonly name?: string
  readonly tool_calls?: readonly ToolCall[]
  readonly tool_call_id?: string
  readonly [field: string]: unknown
}

const roles: readonly unknown[] = ['system', 'developer', 'user', 'assistant', 'tool']

/**
 * A copy as templates take it: content as one string.
 * @throws INVALID_ARGUMENT
 */
export function checkMessages(messages: unknown): Record<string, unknown>[] {
  if (!Array.isArray(messages) || messages.length === 0) throw invalid('messages', 'an array of at least one message', messages)
  return messages.map((message: unknown, i) => {
    const at = `messages[${i}]`
    if (typeof message !== 'object' || message === null || Array.isArray(message)) {
      throw invalid(at, 'an object with role and content', message)
    }
    const { role, content } = message as Record<string, unknown>
    if (!roles.includes(role)) throw invalid(`${at}.role`, roles.map((name) => JSON.stringify(name)).join(' or '), role)
    const copy = plainCopy(message, at) as Record<string, unknown>
    if (Array.isArray(content)) copy.content = content.map((part: unknown, j) => textOf(part, `${at}.content[${j}]`)).join('')
    else if (typeof content !== 'string' && (role !== 'assistant' || (content ?? null) !== null)) {
      throw invalid(`${at}.content`, 'a string, or an array of text parts', content)
    }
    return copy
  })
}

function textOf(part: unknown, at: string): string {
  const { type, text } = (part ?? {}) as Partial<TextPart>
  if (type !== 'text' || typeof text !== 'string') throw invalid(at, '{ type: "text", text: string }', part)
  return text
}

/** A copy of plain data: what JSON can hold. Properties that are undefined are left out. */
export function plainCopy(value: unknown, at: string, depth = 0): unknown {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return value
  if (typeof value === 'number' && Number.isFinite(value)) return value
  if (typeof value !== 'object' || depth > 64) throw invalid(at, 'plain data', value)
  if (Array.isArray(value)) return value.map((item: unknown, i) => plainCopy(item, `${at}[${i}]`, depth + 1))
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== null && prototype !== Object.prototype) throw invalid(at, 'plain data', value)
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, item]) => item !== undefined)
      .map(([key, item]) => [key, plainCopy(item, `${at}.${key}`, depth + 1)]),
  )
}
