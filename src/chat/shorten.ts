/** Conversations that outgrow the context: their oldest turns are left out, and the rest is rendered anew. */
import { toIds, type ModelLimits, type PromptSource } from '../generate.js'
import type { ChatPrompts, Conversation } from './prompt.js'

export class ShorteningPrompt implements PromptSource {
  readonly drops: boolean
  readonly contextLength: number
  readonly #prompts: ChatPrompts
  readonly #conversation: Conversation
  readonly #limits: ModelLimits
  /** How many messages may be left out: up to the beginning of a turn. Ascending, the first is 0. */
  readonly #cuts: readonly number[]
  /** System messages at the front, which stay. */
  readonly #kept: number

  constructor(prompts: ChatPrompts, conversation: Conversation, limits: ModelLimits, drops: boolean) {
    this.drops = drops
    this.contextLength = limits.contextLength
    this.#prompts = prompts
    this.#conversation = conversation
    this.#limits = limits
    const roles = conversation.messages.map((message) => (message as { role: string }).role)
    const first = roles.findIndex((role) => role !== 'system' && role !== 'developer')
    this.#kept = first < 0 ? roles.length : first
    // A turn begins with a user's message; the last of them and what follows it is what is to be answered.
    const begins = roles.flatMap((role, i) => (role === 'user' && i > this.#kept ? [i - this.#kept] : []))
    this.#cuts = drops ? [0, ...begins] : [0]
  }

  /**
   * @throws PROMPT_TOO_LONG where even the shortest conversation leaves no room at all; CHAT_TEMPLATE_INVALID, …
   */
  async prompt(room: number, answer = 0, dropped = -1): Promise<{ ids: Int32Array; dropped: number } | null> {
    const cuts = this.#cuts.filter((cut) => cut > dropped)
    if (cuts.length === 0) return null
    const fits = ({ length }: Int32Array): boolean => length + answer + room <= this.contextLength
    let [low, high] = [0, cuts.length - 1]
    let best = await this.#encode(cuts[low]!)
    if (cuts.length > 1 && !fits(best)) {
      // The fewest messages that have to go. Leaving out more makes it shorter, so a few renderings find it.
      best = await this.#encode(cuts[high]!)
      while (low + 1 < high) {
        const middle = (low + high) >> 1
        const ids = await this.#encode(cuts[middle]!)
        if (fits(ids)) [high, best] = [middle, ids]
        else low = middle
      }
      low = high
    }
    if (answer > 0 && best.length + answer >= this.contextLength) return null
    return { ids: toIds(best, 'prompt', this.#limits), dropped: cuts[low]! }
  }

  #encode(cut: number): Promise<Int32Array> {
    const { messages } = this.#conversation
    const left = [...messages.slice(0, this.#kept), ...messages.slice(this.#kept + cut)]
    return this.#prompts.encode({ ...this.#conversation, messages: left })
  }
}
