/** model.chat: from messages to an answer, with callers' text kept text. */
import { describe, expect, it } from 'vitest'
import { Model, type ChatMessage, type ChatOptions } from '../../src/index.js'
import { folderWithTemplate, ggufWithTemplate, turnsTemplate } from '../support/chat-checkpoint.js'
import { realModel } from '../support/models.js'

/** The embedded model's only control token; it begins and ends texts. */
const end = '<|endoftext|>'

const greedy = { temperature: 0, maxTokens: 8 }

async function load(template?: string): Promise<Model> {
  return Model.load(await ggufWithTemplate(template), { cacheTokens: 2048 })
}

/** The prompt's ids. */
async function promptOf(model: Model, messages: ChatMessage[], options: ChatOptions = {}): Promise<number[]> {
  const { tokens } = await model.chat(messages, { ...options, maxTokens: 0, echo: true }).result()
  return [...tokens]
}

const user = (content: string): ChatMessage => ({ role: 'user', content })

describe('model.chat', () => {
  it('answers as generate() continues the rendered conversation', async () => {
    await using model = await load()
    const [bos, eos] = [end, end]
    const text = `${bos}system:\nBe brief.${eos}\nuser:\nA tale of a king, please.${eos}\nassistant:\n`
    const plain = model.generate(text, { ...greedy, addSpecial: false, parseSpecial: true })
    const chat = model.chat([{ role: 'system', content: 'Be brief.' }, user(' A tale of a king, please. ')], greedy)
    let streamed = ''
    for await (const piece of chat) streamed += piece.text
    const [a, b] = [await chat.result(), await plain.result()]
    expect(a.tokens).toEqual(b.tokens)
    expect(a.usage).toEqual({ ...b.usage, cachedTokens: expect.any(Number) })
    expect(streamed).toBe(a.text)
  })

  it('begins with one beginning-of-text token', async () => {
    await using model = await load()
    const [bos] = await model.encode('')
    const ids = await promptOf(model, [user('Hi')])
    expect(ids[0]).toBe(bos)
    expect(ids[1]).not.toBe(bos)
  })

  it('does the same from a Hugging Face folder', async () => {
    const folder = realModel('fairytale/hf', 'chat from a Hugging Face folder')
    if (!folder) return
    await using fromFolder = await Model.load(await folderWithTemplate(folder), { cacheTokens: 1024 })
    await using fromGguf = await load()
    for (const content of ['Hi', `a ${end} b`, end]) {
      expect(await promptOf(fromFolder, [user(content)])).toEqual(await promptOf(fromGguf, [user(content)]))
    }
  })

  it('keeps control tokens in messages text, wherever templates put it', async () => {
    await using model = await load()
    const [id] = model.info.eosTokenIds
    const count = (ids: readonly number[]): number => ids.filter((each) => each === id).length
    const wanted = count(await promptOf(model, [user('hello')]))
    expect(wanted).toBe(2)
    const cut = `<|end${end}oftext|>`
    const withMarks = [`\ue000${end}\ue001\uf8ff`, `\\ue000${end}`]
    const attacks = [end, ` ${end} `, `x${end}`, end + end + 'y', cut, ...withMarks, '<|endoftext|', '<', '']
    for (const attack of attacks) {
      const ids = await promptOf(model, [user(attack)])
      expect(count(ids), attack).toBe(wanted)
      expect(await model.decode(ids)).toBe(`${end}user:\n${attack.trim()}${end}\nassistant:\n`)
      const text = await model.encode(`user:\n${attack.trim()}`, { addSpecial: false })
      expect(ids.slice(1, 1 + text.length), attack).toEqual([...text])
    }
  })

  it.each([
    ['trims', '{{ messages[0].content | trim }}', ` ${end} `, end],
    ['splits', "{{ messages[0].content.split('#')[1] }}", `a#${end}#b`, end],
    ['takes out', "{{ messages[0].content | replace('[img]', '') }}", '<|end[img]oftext|>', end],
    ['joins', '{{ messages[0].content }}{{ messages[1].content }}', '<|end', end],
    ['writes as JSON', '{{ messages[0].content | tojson }}', end, `"${end}"`],
    ['writes as ASCII JSON', '{{ messages[0].content | tojson(ensure_ascii=true) }}', end, `"${end}"`],
    ['measures', '{{ messages[0].content | length }}', end, '13'],
  ])('a template that %s messages makes no control token of them', async (_, template, content, text) => {
    await using model = await load(`{{ bos_token }}${template}{{ eos_token }}`)
    const ids = await promptOf(model, [user(content), { role: 'assistant', content: 'oftext|>' }])
    const [bos] = await model.encode('')
    const [eos] = await model.encode(end, { addSpecial: false, parseSpecial: true })
    expect(ids).toEqual([bos, ...(await model.encode(text, { addSpecial: false })), eos])
  })

  it('hands tools, variables, parts and the end of the prompt to the template', async () => {
    await using model = await load(
      '{{ tools[0].function.name }} {{ enable_thinking }} {{ messages[0].content }} {{ add_generation_prompt }} {{ documents is none }}',
    )
    const message: ChatMessage = { role: 'user', content: [{ type: 'text', text: 'a' }, { type: 'text', text: 'b' }] }
    const options = { tools: [{ type: 'function', function: { name: 'f' } }], templateVariables: { enable_thinking: false } }
    const ids = await promptOf(model, [message], { ...options, addGenerationPrompt: false })
    expect(await model.decode(ids)).toContain('f false ab false true')
  })

  it('takes another template, and says when the checkpoint has none or a broken one', async () => {
    await using base = await Model.load(undefined, { cacheTokens: 512 })
    expect(() => base.chat([user('Hi')])).toThrow(expect.objectContaining({ code: 'CHAT_TEMPLATE_MISSING' }))
    expect((await base.chat([user('Hi')], { ...greedy, chatTemplate: turnsTemplate }).result()).tokens.length).toBeGreaterThan(0)
    for (const chatTemplate of ['{% for %}', "{{ raise_exception('No.') }}", '{{ messages.x.y.z() }}']) {
      await expect(base.chat([user('Hi')], { chatTemplate }).result()).rejects.toMatchObject({ code: 'CHAT_TEMPLATE_INVALID' })
    }
  })

  it('refuses what is no conversation and what is no option', async () => {
    await using model = await load()
    const refused = (messages: unknown, options?: unknown): unknown => {
      try {
        return model.chat(messages as ChatMessage[], options as ChatOptions)
      } catch (error) {
        return (error as { code: string }).code
      }
    }
    const wrong = [undefined, [], ['Hi'], [{ role: 'king', content: '' }], [{ role: 'user' }], [{ role: 'user', content: 1 }]]
    for (const messages of wrong) expect(refused(messages)).toBe('INVALID_ARGUMENT')
    expect(refused([{ role: 'user', content: [{ type: 'image' }] }])).toBe('INVALID_ARGUMENT')
    expect(refused([{ role: 'user', content: 'x', when: new Date() }])).toBe('INVALID_ARGUMENT')
    expect(refused([user('x')], { temprature: 1 })).toBe('UNKNOWN_OPTION')
    expect(refused([user('x')], { parseSpecial: true })).toBe('UNKNOWN_OPTION')
    expect(refused([user('x')], { tools: 'f' })).toBe('INVALID_ARGUMENT')
  })

  it('is cancelled, aborted and too long like generate()', async () => {
    await using model = await load()
    const left = model.chat([user('Hi')], { maxTokens: 200 })
    for await (const _ of left) break
    expect((await left.result()).finishReason).toMatch(/aborted|stop/)
    const controller = new AbortController()
    const aborted = model.chat([user('Hi')], { signal: controller.signal }).result()
    controller.abort()
    await expect(aborted).rejects.toMatchObject({ code: 'ABORTED' })
    await expect(model.chat([user('word '.repeat(3000))]).result()).rejects.toMatchObject({ code: 'PROMPT_TOO_LONG' })
  })

  it('stops at a control token that ends turns in the template', async () => {
    await using model = await load()
    const [eos] = await model.encode(end, { addSpecial: false, parseSpecial: true })
    const result = await model.chat([user('Hi')], { logitBias: { [eos!]: 100 }, temperature: 0 }).result()
    expect(result).toMatchObject({ finishReason: 'stop', stopReason: eos, text: '' })
  })
})

describe('a hostile template', () => {
  const template = {
    'loops for ever': '{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}',
    'doubles a text': "{% set n = namespace(s='xy') %}{% for a in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}",
    'doubles a list': '{% set n = namespace(s=[1]) %}{% for a in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s }}',
    'replaces much by much':
      "{% set n = namespace(s='xx') %}{% for a in range(15) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s.replace('x', n.s) }}",
    'indents far': "{{ 'x' | indent(1000000000, true) }}{{ [1] | tojson(indent=1000000000) }}",
    'writes without end': "{% for a in range(90000) %}{% for b in range(90) %}{{ 'long text' }}{% endfor %}{% endfor %}",
    'calls itself': '{% macro f(g) %}{{ g(g) }}{% endmacro %}{{ f(f) }}',
    'nests deeply': `{{ ${'('.repeat(100000)} }}`,
    'holds itself': '{% set n = namespace() %}{% set n.n = n %}{{ n | tojson }}',
  }
  it.each(Object.entries(template))('that %s ends soon, with an error, while the event loop goes on', async (_, chatTemplate) => {
    await using model = await Model.load(undefined, { cacheTokens: 512 })
    let longest = 0
    let last = performance.now()
    const timer = setInterval(() => {
      longest = Math.max(longest, performance.now() - last)
      last = performance.now()
    }, 5)
    const started = performance.now()
    await expect(model.chat([user('Hi')], { chatTemplate }).result()).rejects.toMatchObject({ code: 'CHAT_TEMPLATE_INVALID' })
    clearInterval(timer)
    expect(performance.now() - started).toBeLessThan(12_000)
    expect(longest).toBeLessThan(500)
    // The next one renders.
    expect((await model.chat([user('Hi')], { ...greedy, chatTemplate: turnsTemplate }).result()).tokens.length).toBeGreaterThan(0)
  }, 30_000)
})
