/** Real chat templates render what transformers renders. They are not ours to copy, so they are looked for elsewhere. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { compileTemplate, renderTemplate, strftime } from '../../src/chat/jinja.js'

const folder = process.env.INFERNODE_CHAT_TEMPLATES ?? join(import.meta.dirname, '../../../shared/chat-templates')

interface Expected {
  conversations: Record<string, { messages: unknown[]; tools?: unknown[] }>
  bos_token: string
  eos_token: string
  date_string: string
  expected: Record<string, Record<string, { text: string } | { error: string }>>
}

/** What Python refuses and we render: what the template's author plainly meant. Everything else that it refuses, we refuse too. */
const meant: Readonly<Record<string, string>> = {
  'llama-cpp-deepseek-r1.jinja': '"name": "get_weather"', // a list made by `map` where Python has a generator
  'meetkai-functionary-medium-v3.1.jinja': '<function=get_weather>{"city": "Paris", "unit": "celsius"}</function>',
  'meetkai-functionary-medium-v3.2.jinja': '>>>get_weather\n{"city": "Paris", "unit": "celsius"}',
}

describe('chat templates of real checkpoints', () => {
  const file = join(folder, 'expected.json')
  if (!existsSync(file)) {
    console.warn('SKIPPED: chat templates of real checkpoints. There is no expected.json in INFERNODE_CHAT_TEMPLATES.')
    it.skip('render what transformers renders', () => {})
    return
  }
  const { conversations, expected, ...tokens } = JSON.parse(readFileSync(file, 'utf8')) as Expected

  for (const [name, cases] of Object.entries(expected)) {
    it.each(Object.keys(cases))(`${name} renders %s as transformers does`, (key) => {
      const { messages, tools } = conversations[key.replace('+prompt', '')]!
      const variables = {
        ...tokens,
        messages,
        tools: tools ?? null,
        documents: null,
        add_generation_prompt: key.endsWith('+prompt'),
      }
      const render = (): string => renderTemplate(compileTemplate(readFileSync(join(folder, name), 'utf8')), variables)
      const wanted = cases[key]!
      if ('text' in wanted) expect(render()).toBe(wanted.text)
      else if (meant[name]) expect(render()).toContain(meant[name])
      else if (/^[A-Z]/.test(wanted.error)) expect(render).toThrow(wanted.error)
      else expect(render).toThrow()
    })
  }
})

const render = (source: string, variables: Record<string, unknown> = {}): string =>
  renderTemplate(compileTemplate(source), variables)

describe('a template', () => {
  it('gets blocks without the line break after them and the spaces before', () => {
    expect(render('{% if true %}\n  a\n  {% endif %}\nb')).toBe('  a\nb')
  })

  it('unpacks pairs in loops, also of tuples and with a condition', () => {
    expect(render("{% for a, b in [('x', 1), ('y', 2)] %}{{ a }}{{ b }}{% endfor %}")).toBe('x1y2')
    expect(render('{% for k, v in d.items() if v > 1 %}{{ k }}{% endfor %}', { d: { a: 1, b: 2 } })).toBe('b')
  })

  it('takes filters of what is undefined as Python does', () => {
    expect(render('[{{ x.y | trim }}{{ tools | selectattr("type") | list | length }}]', { x: {}, tools: null })).toBe('[0]')
  })

  it('escapes what is joined with text that is marked safe', () => {
    expect(render('{{ "<b>" | safe + x + "</b>" }} {{ x }}', { x: '<"&\'>' })).toBe('<b>&lt;&#34;&amp;&#39;&gt;&lt;/b&gt; <"&\'>')
  })

  it('gets JSON text where it adds an object to text, and an error for a list', () => {
    expect(render('{{ "a" + x }}', { x: { b: [1, 'é'] } })).toBe('a{"b": [1, "é"]}')
    expect(() => render('{{ "a" + x }}', { x: [1] })).toThrow('list')
  })

  it('writes dates in English', () => {
    const date = new Date(2024, 6, 6, 15, 4, 5)
    expect(strftime(date, '%d %b %Y %B %A %H:%M:%S %I%p %-d %y %j%%')).toBe('06 Jul 2024 July Saturday 15:04:05 03PM 6 24 %j%')
    expect(render('{{ strftime_now("%Y") }}')).toBe(String(new Date().getFullYear()))
  })

  it('raises its own complaint, and one for a range that nobody needs', () => {
    expect(() => render('{{ raise_exception("roles must alternate") }}')).toThrow('roles must alternate')
    expect(() => render('{% for i in range(10000000000) %}{% endfor %}')).toThrow('range()')
  })

  it('may use variables that are named like functions', () => {
    expect(render('{{ range }}', { range: 'x' })).toBe('x')
  })
})
