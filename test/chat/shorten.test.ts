/** Conversations that outgrow the context: refused, or shortened by whole turns, also in the middle of an answer. */
import { describe, expect, it } from 'vitest'
import { ShorteningPrompt } from '../../src/chat/shorten.js'
import type { ChatMessage } from '../../src/chat/messages.js'
import { Model, type ChatOptions, type LoadOptions } from '../../src/model.js'
import { ggufWithTemplate, turnsTemplate } from '../support/chat-checkpoint.js'

const load = async (options: LoadOptions = {}): Promise<Model> => Model.load(await ggufWithTemplate(), options)
const user = (content: string): ChatMessage => ({ role: 'user', content })
const assistant = (content: string): ChatMessage => ({ role: 'assistant', content })
const system: ChatMessage = { role: 'system', content: 'You tell tales.' }
/** Long turns: some 60 tokens each. */
const turns = (n: number): ChatMessage[] =>
  Array.from({ length: n }, (_, i) => [user(`Tale ${i}: ${'a king and a queen '.repeat(6)}`), assistant('Once upon a time. '.repeat(6))]).flat()
/** Ends by its length only. */
const endless: ChatOptions = { temperature: 0.8, seed: 5, logitBias: { 0: -Infinity, 1: -Infinity, 2: -Infinity } }
const dropping: ChatOptions = { ...endless, contextFull: 'drop-oldest' }

/** A tokenizer that counts words, and a template that joins messages. */
function shortening(messages: ChatMessage[], contextLength: number, drops = true) {
  const prompts = {
    renderings: 0,
    encode({ messages }: { messages: readonly unknown[] }) {
      this.renderings++
      const words = messages.flatMap((message) => (message as { content: string }).content.split(' ').map(Number))
      return Promise.resolve(Int32Array.from(words))
    },
  }
  const limits = { vocabSize: 1000, contextLength, generation: { eosTokenIds: [] } }
  return { prompts, source: new ShorteningPrompt(prompts as never, { messages } as never, limits, drops) }
}

describe('a conversation that is too long', () => {
  const numbered: ChatMessage[] = [
    { role: 'system', content: '0 0' },
    user('1 1 1'),
    assistant('2 2'),
    { role: 'tool', content: '3' },
    assistant('4'),
    user('5 5'),
    assistant('6'),
    user('7 7 7'),
  ]

  it('loses the fewest whole turns that make room, never the system message or the last question', async () => {
    const idsFor = async (contextLength: number, room: number) => {
      const { source } = shortening(numbered, contextLength)
      const prompt = await source.prompt(room)
      return [[...prompt!.ids].join(''), prompt!.dropped]
    }
    expect(await idsFor(20, 5)).toEqual(['001112234556777', 0])
    expect(await idsFor(19, 5)).toEqual(['00556777', 4])
    expect(await idsFor(13, 5)).toEqual(['00556777', 4])
    expect(await idsFor(12, 5)).toEqual(['00777', 6])
    expect(await idsFor(6, 5)).toEqual(['00777', 6]) // less room than was asked for
    await expect(idsFor(4, 1)).rejects.toMatchObject({ code: 'PROMPT_TOO_LONG' })
  })

  it('loses more in the middle of an answer, as long as there is something to lose', async () => {
    const { source } = shortening(numbered, 15)
    expect(await source.prompt(3, 4, 0)).toMatchObject({ dropped: 4 })
    expect(await source.prompt(3, 8, 4)).toMatchObject({ dropped: 6 })
    expect(await source.prompt(3, 9, 6)).toBeNull()
    expect(await source.prompt(3, 10, 4)).toBeNull() // no room for one more token
  })

  it('is rendered a few times only, however many turns it has', async () => {
    const { source, prompts } = shortening(Array.from({ length: 1000 }, () => user('1 2 3')), 100)
    expect(await source.prompt(10)).toMatchObject({ dropped: 970 })
    expect(prompts.renderings).toBeLessThan(14)
  })

  it('is an error by default', async () => {
    const { source } = shortening(numbered, 10, false)
    await expect(source.prompt(0)).rejects.toMatchObject({ code: 'PROMPT_TOO_LONG' })
    await using model = await load()
    await expect(model.chat([system, ...turns(12), user('And now?')], endless).result()).rejects.toMatchObject({
      code: 'PROMPT_TOO_LONG',
    })
  })
})

describe('model.chat with drop-oldest', () => {
  it('answers what the shorter conversation is answered, and says what it dropped', async () => {
    await using model = await load()
    const messages = [system, ...turns(12), user('And now?')]
    const options = { ...dropping, maxTokens: 20 }
    const result = await model.chat(messages, options).result()
    expect(result.droppedMessages).toBeGreaterThan(5)
    expect(result.droppedMessages! % 2).toBe(0)
    expect(result.usage.promptTokens).toBeLessThan(512 - 20)
    const shorter = [system, ...messages.slice(1 + result.droppedMessages!)]
    expect((await model.chat(shorter, { ...endless, maxTokens: 20 }).result()).text).toBe(result.text)
    expect((await model.chat([system, user('Hi')], options).result()).droppedMessages).toBe(0)
    expect(await model.chat([system, user('Hi')], { ...endless, maxTokens: 2 }).result()).not.toHaveProperty('droppedMessages')
  })

  it('goes on in the middle of an answer, streaming each token once, until there is nothing left to drop', async () => {
    await using model = await load()
    const messages = [system, ...turns(4), user('And now?')]
    const answer = model.chat(messages, { ...dropping, maxTokens: 330, n: 2 })
    const texts = ['', '']
    for await (const piece of answer) texts[piece.sample!] += piece.text
    const { samples, droppedMessages, usage } = await answer.result()
    expect(samples.map(({ text }) => text)).toEqual(texts)
    expect(samples.map(({ tokens }) => tokens.length)).toEqual([330, 330])
    expect(usage.completionTokens).toBe(660)
    expect(droppedMessages).toBe(6)
    for (const { text, tokens } of samples) expect(await model.decode([...tokens])).toBe(text)
    // The system message and the question stay, so the context ends it at last.
    const last = await model.chat(messages, { ...dropping, maxTokens: 2000 }).result()
    expect(last.finishReason).toBe('length')
    expect(last.tokens.length).toBeGreaterThan(400)
    expect(last.tokens.length).toBeLessThan(512)
  })

  it('finds a stop string that begins before and ends after the place where messages were dropped', async () => {
    await using model = await load()
    const messages = [system, ...turns(4), user('And now?')]
    const options = { ...dropping, maxTokens: 330 }
    const whole = await model.chat(messages, options).result()
    const first = await model.chat(messages, { ...options, contextFull: 'error', maxTokens: 511 }).result()
    const border = first.text.length
    expect(whole.text.startsWith(first.text.slice(0, -8))).toBe(true)
    expect(whole.text.length).toBeGreaterThan(border + 20)
    const stop = whole.text.slice(border - 12, border + 12)
    const stopped = await model.chat(messages, { ...options, stop }).result()
    expect(stopped).toMatchObject({ finishReason: 'stop', stopReason: stop, text: whole.text.slice(0, whole.text.indexOf(stop)) })
  })

  it('is cancelled, timed out and aborted like any other', async () => {
    await using model = await load()
    const messages = [system, ...turns(4), user('And now?')]
    const controller = new AbortController()
    const aborted = model.chat(messages, { ...dropping, maxTokens: 2000, signal: controller.signal })
    for await (const _ of aborted) {
      controller.abort()
      break
    }
    await expect(aborted.result()).rejects.toMatchObject({ code: 'ABORTED' })
    await expect(model.chat(messages, { ...dropping, maxTokens: 2000, timeoutMs: 1 }).result()).rejects.toMatchObject({ code: 'TIMED_OUT' })
    const left = model.chat(messages, { ...dropping, maxTokens: 2000 })
    for await (const _ of left) break
    expect((await left.result()).finishReason).toBe('aborted')
    expect(() => model.chat(messages, { contextFull: 'rotate' as never, chatTemplate: turnsTemplate })).toThrow('contextFull')
  })
})
