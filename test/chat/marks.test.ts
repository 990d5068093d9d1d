/** Control tokens in callers' text are found, marked, and given back as they were. */
import { describe, expect, it } from 'vitest'
import { ControlTokens, Marks } from '../../src/chat/marks.js'

const control = new ControlTokens(['<|im_end|>', '</s>', '<s>', '[INST]', '<|im_end|>x'])

describe('ControlTokens', () => {
  it('finds the longest spelling at each place', () => {
    expect(control.find('a<|im_end|>xy</s><<s>')).toEqual([
      [1, 12],
      [13, 17],
      [18, 21],
    ])
    expect(new ControlTokens(['']).find('abc')).toEqual([])
  })
})

describe('Marks', () => {
  it.each(['', 'plain', '<|im_end|>', '</s></s>', '<<s>/s>', '[INST] <s>', '\ue000<s>\ue001', '\\ue000</s>', '😀</s>\ud800'])(
    'mark %j so that no control token is left, keep its length, and give it back',
    (text) => {
      const marks = new Marks(control, JSON.stringify(text))
      for (const marked of [marks.mark(text), marks.markAll(text)]) {
        expect(control.find(marked)).toEqual([])
        expect(marked).toHaveLength(text.length)
        expect(marks.unmark(marked)).toBe(text)
        expect(marks.cut(marked).join('')).toBe(text)
        for (const part of marks.cut(marked)) expect(control.find(part)).toEqual([])
      }
      expect(marks.isMarked(text)).toBe(false)
      expect(marks.isMarked(marks.mark(text))).toBe(control.find(text).length > 0)
    },
  )

  it('are given back from what JSON makes of them in ASCII', () => {
    const marks = new Marks(control, '')
    const ascii = marks.mark('</s>').replaceAll(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).toUpperCase()}`)
    expect(marks.unmark(ascii.replace('\\U', '\\u'))).toBe('</s>')
  })

  it('are others where the text holds all private characters of the basic plane', () => {
    const all = Array.from({ length: 0x1900 }, (_, i) => String.fromCodePoint(0xe000 + i)).join('')
    const marks = new Marks(control, all)
    expect(marks.unmark(marks.mark(`${all}</s>`))).toBe(`${all}</s>`)
  })
})
