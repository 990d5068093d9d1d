/** From messages to the token ids of a prompt: template, then tokenizer, with callers' text kept text throughout. */
import { InfernodeError } from '../errors.js'
import type { Checkpoint, TokenizerSource } from '../formats/checkpoint.js'
import type { Tokenizer } from '../tokenizer/tokenizer.js'
import { ControlTokens, mapStrings, Marks } from './marks.js'
import { renderChat } from './render.js'

/** What a template is rendered with, checked and copied. */
export interface Conversation {
  readonly messages: readonly unknown[]
  readonly tools: readonly unknown[] | null
  readonly documents: readonly unknown[] | null
  readonly addGenerationPrompt: boolean
  readonly templateVariables: Readonly<Record<string, unknown>>
  /** Instead of the checkpoint's. */
  readonly chatTemplate: string | undefined
}

/** Control tokens that end a turn in widespread formats, for checkpoints whose generation config forgets them. */
const turnEnds = ['<|im_end|>', '<|eot_id|>', '<end_of_turn>', '<|end|>', '<|end_of_turn|>', '<|END_OF_TURN_TOKEN|>', '<turn|>']

export class ChatPrompts {
  readonly #template: string | null
  readonly #path: string
  readonly #tokenizer: Tokenizer
  readonly #tokens: Readonly<Record<string, string>>
  #control: Promise<ControlTokens> | undefined

  constructor({ chatTemplate, path, tokenizer: source }: Checkpoint, tokenizer: Tokenizer) {
    this.#template = chatTemplate
    this.#path = path
    this.#tokenizer = tokenizer
    this.#tokens = source ? tokenVariables(source, tokenizer) : {}
  }

  /** @throws CHAT_TEMPLATE_MISSING */
  template(own?: string): string {
    const template = own ?? this.#template
    if (template === null || template === '') throw new InfernodeError('CHAT_TEMPLATE_MISSING', this.#path)
    return template
  }

  /** Ids of the tokens that end an answer in the format that the template writes. */
  endTokens(template: string): number[] {
    const eos = this.#tokens.eos_token
    // Where turns have channels, "end" ends one of them and the answer goes on.
    const hasChannels = template.includes('<|channel|>')
    const spelled = turnEnds.filter((text) => template.includes(text) && !(text === '<|end|>' && hasChannels))
    return [...spelled, ...(eos === undefined ? [] : [eos])].flatMap((text) => {
      const id = this.#tokenizer.find(text)
      return id !== undefined && this.#tokenizer.isSpecial(id) ? [id] : []
    })
  }

  /**
   * The prompt's ids. The template says everything that is in it, also a beginning-of-text token; nothing is added.
   * @throws CHAT_TEMPLATE_MISSING, CHAT_TEMPLATE_INVALID
   */
  async encode(conversation: Conversation): Promise<Int32Array> {
    const template = this.template(conversation.chatTemplate)
    const control = await (this.#control ??= this.#findControl())
    const { messages, tools, documents, templateVariables } = conversation
    const callers = { messages, tools, documents, ...templateVariables }
    const marks = new Marks(control, template + JSON.stringify(callers) + JSON.stringify(this.#tokens))
    const variables = (change: (text: string) => string): Record<string, unknown> => ({
      ...this.#tokens,
      ...(mapStrings(callers, change) as object),
      add_generation_prompt: conversation.addGenerationPrompt,
    })
    const careful = variables((text) => marks.markAll(text))
    const usual = variables((text) => marks.mark(text))
    const same = JSON.stringify(careful) === JSON.stringify(usual)
    const [text, strict] = (await renderChat(template, ...(same ? [usual] : [usual, careful]))) as [string, string?]
    // A template that takes something out of a text may join what is left to a control token. The one rendered with every
    // possible beginning marked has none but the template's own.
    const safe = strict === undefined || spellings(control, text) === spellings(control, strict)
    return this.#encode(safe ? text : strict, marks, control)
  }

  async #encode(text: string, marks: Marks, control: ControlTokens): Promise<Int32Array> {
    if (!marks.isMarked(text)) return (await this.#tokenizer.encode(text, { addSpecial: false, parseSpecial: true })).ids
    const found = control.find(text)
    // Stretches of the template's text and control tokens are encoded as they stand, which keeps the tokenizer's rules for
    // what is beside a control token; only stretches of text with marks are encoded by themselves, as plain text.
    const ids: number[] = []
    let previous: [number, number] | undefined
    let from = 0
    const borders: [number, number][] = [...found, [text.length, text.length]]
    for (const border of borders) {
      const stretch = text.slice(previous?.[1] ?? 0, border[0])
      if (marks.isMarked(stretch)) {
        const before = await this.#whole(text.slice(from, previous?.[1] ?? 0))
        ids.push(...before, ...(await this.#asText(stretch, previous && text.slice(...previous), marks)))
        from = border[0]
      }
      previous = border
    }
    ids.push(...(await this.#whole(text.slice(from))))
    return Int32Array.from(ids)
  }

  async #whole(text: string): Promise<number[]> {
    if (text === '') return []
    return [...(await this.#tokenizer.encode(text, { addSpecial: false, parseSpecial: true })).ids]
  }

  /**
   * Text with marks that follows a control token, if any. Some tokenizers put a space before the first text only; for them the
   * text is encoded behind the control token, cut where a control token in it would begin.
   */
  async #asText(marked: string, control: string | undefined, marks: Marks): Promise<number[]> {
    const plain = async (text: string): Promise<number[]> => [
      ...(await this.#tokenizer.encode(text, { addSpecial: false, parseSpecial: false })).ids,
    ]
    const behind = async (text: string): Promise<number[]> => (await this.#whole(control + text)).slice(1)
    const alone = await plain(marked)
    const after = control === undefined ? alone : await behind(marked)
    const inPlace = alone.length === after.length && alone.every((id, i) => id === after[i]) ? plain : behind
    if (inPlace === plain) {
      const ids = await plain(marks.unmark(marked))
      // Unigram vocabularies may find a control token's piece in plain text too.
      if (!ids.some((id) => this.#tokenizer.isSpecial(id))) return ids
    }
    const ids: number[] = []
    for (const part of marks.cut(marked)) ids.push(...(await inPlace(part)))
    return ids
  }

  /** The spellings of all control tokens, in parts, since a vocabulary may have a quarter of a million entries. */
  async #findControl(): Promise<ControlTokens> {
    const spellings: string[] = []
    for (let first = 0; first < this.#tokenizer.vocabSize; first += 8192) {
      const ids: number[] = []
      for (let id = first; id < Math.min(first + 8192, this.#tokenizer.vocabSize); id++) {
        if (this.#tokenizer.isSpecial(id)) ids.push(id)
      }
      spellings.push(...this.#tokenizer.pieces(ids))
      await new Promise((resolve) => setImmediate(resolve))
    }
    return new ControlTokens(spellings)
  }
}

function spellings(control: ControlTokens, text: string): string {
  return JSON.stringify(control.find(text).map(([start, end]) => text.slice(start, end)))
}

/** bos_token, eos_token and their like, as transformers hands them to templates. */
function tokenVariables(source: TokenizerSource, tokenizer: Tokenizer): Record<string, string> {
  const variables: Record<string, string> = {}
  const names = { bos: 'bos', eos: 'eos', unk: 'unknown', pad: 'padding', sep: 'seperator', cls: 'cls', mask: 'mask' }
  for (const [name, inGguf] of Object.entries(names)) {
    if (source.from === 'gguf') {
      const id = source.metadata.get(`tokenizer.ggml.${inGguf}_token_id`)
      if (typeof id === 'number' && id < tokenizer.vocabSize) variables[`${name}_token`] = tokenizer.pieces([id])[0]!
    } else {
      const token = source.config[`${name}_token`]
      const text = typeof token === 'object' && token !== null ? (token as { content?: unknown }).content : token
      if (typeof text === 'string') variables[`${name}_token`] = text
    }
  }
  return variables
}
