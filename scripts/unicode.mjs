// Writes native/tokenizer/unicode_tables.{h,cc} from the Unicode data that this Node.js carries: node scripts/unicode.mjs
//
// Categories come from \p{..} regular expressions, compositions from String.prototype.normalize. Combining classes are not
// exposed by JavaScript, but their order is: normalizing swaps two marks exactly if the first has the greater class. What joins
// the grapheme before it, Intl.Segmenter tells.
import { writeFileSync } from 'node:fs'

const folder = new URL('../native/tokenizer/', import.meta.url)
const lastCodePoint = 0x10ffff
const blockBits = 8

const categories = 'Cn Cc Cf Co Cs Ll Lm Lo Lt Lu Mc Me Mn Nd Nl No Pc Pd Pe Pf Pi Po Ps Sc Sk Sm So Zl Zp Zs'.split(' ')
const isSurrogate = (c) => c >= 0xd800 && c <= 0xdfff
const graphemes = new Intl.Segmenter('en', { granularity: 'grapheme' })
const codePoints = (text) => [...text].map((c) => c.codePointAt(0))

function categoryTable() {
  const table = new Uint8Array(lastCodePoint + 1)
  categories.forEach((name, id) => {
    const pattern = new RegExp(`^\\p{gc=${name}}$`, 'u')
    for (let c = 0; c <= lastCodePoint; c++) if (pattern.test(String.fromCodePoint(c))) table[c] = id
  })
  for (let c = 0; c <= lastCodePoint; c++) if (/^\p{White_Space}$/u.test(String.fromCodePoint(c))) table[c] |= 0x20
  return table
}

// Classes as dense ranks: only their order and equality matter.
function combiningClasses() {
  const swaps = (a, b) => (a + b).normalize('NFD') !== a + b
  const marks = []
  for (let c = 0; c <= lastCodePoint; c++) {
    const mark = String.fromCodePoint(c)
    if (isSurrogate(c) || mark.normalize('NFD') !== mark) continue
    if (swaps(mark, '\u0334') || swaps('\u0345', mark)) marks.push(mark) // lowest and highest class
  }
  const order = (a, b) => (swaps(a, b) ? 1 : swaps(b, a) ? -1 : 0)
  marks.sort(order)
  const table = new Uint8Array(lastCodePoint + 1)
  let rank = 0
  marks.forEach((mark, i) => {
    if (i === 0 || order(marks[i - 1], mark) !== 0) rank++
    table[mark.codePointAt(0)] = rank
  })
  return table
}

function normalization() {
  const decompositions = []
  const compositions = []
  for (let c = 0; c <= lastCodePoint; c++) {
    if (isSurrogate(c) || (c >= 0xac00 && c <= 0xd7a3)) continue // Hangul syllables are computed
    const text = String.fromCodePoint(c)
    const parts = codePoints(text.normalize('NFD'))
    if (parts.length === 1 && parts[0] === c) continue
    decompositions.push([c, parts])
    if (text.normalize('NFC') !== text) continue
    const first = codePoints(String.fromCodePoint(...parts.slice(0, -1)).normalize('NFC'))
    const second = parts.at(-1)
    if (first.length !== 1) throw new Error(`U+${c.toString(16)} is not composed of two code points`)
    compositions.push([first[0], second, c])
  }
  compositions.sort((a, b) => a[0] - b[0] || a[1] - b[1])
  return { decompositions, compositions }
}

// What NFKD does beyond NFD.
function compatibility() {
  const rows = []
  for (let c = 0; c <= lastCodePoint; c++) {
    if (isSurrogate(c)) continue
    const text = String.fromCodePoint(c)
    if (text.normalize('NFKD') !== text.normalize('NFD')) rows.push([c, codePoints(text.normalize('NFKD'))])
  }
  return rows
}

// Runs of code points, one or two apart, whose lower case is equally far away.
function lowercaseRanges() {
  const ranges = []
  for (let c = 0; c <= lastCodePoint; c++) {
    if (isSurrogate(c)) continue
    const lower = codePoints(String.fromCodePoint(c).toLowerCase())
    if (c === 0x130) continue // the only one that becomes two, see unicode.cc
    if (lower.length !== 1) throw new Error(`the lower case of U+${c.toString(16)} is not one code point`)
    const delta = lower[0] - c
    if (delta === 0) continue
    const last = ranges.at(-1)
    const step = last ? c - last.last : 0
    if (last && last.delta === delta && step <= 2 && (last.first === last.last || step === last.step)) {
      Object.assign(last, { last: c, step })
    } else {
      ranges.push({ first: c, last: c, step: 1, delta })
    }
  }
  return ranges
}

function joinsGrapheme(c) {
  return [...graphemes.segment(`a${String.fromCodePoint(c)}`)].length === 1
}

// Blocks of 256 code points, equal blocks stored once.
function twoLevel(table) {
  const size = 1 << blockBits
  const blocks = new Map()
  const index = []
  for (let start = 0; start <= lastCodePoint; start += size) {
    const key = table.subarray(start, start + size).join()
    if (!blocks.has(key)) blocks.set(key, blocks.size)
    index.push(blocks.get(key))
  }
  return { index, values: [...blocks.keys()].flatMap((key) => key.split(',').map(Number)) }
}

function wrap(numbers) {
  const lines = ['']
  for (const number of numbers) {
    if (lines.at(-1).length + String(number).length > 124) lines.push('')
    lines[lines.length - 1] += `${number},`
  }
  return lines.map((line) => `    ${line}`).join('\n')
}

const { decompositions, compositions } = normalization()
const classes = combiningClasses()
const category = categoryTable()

// Code points that normalizing to NFC may change or move, or that may join the one before them.
for (const [c] of decompositions) if (String.fromCodePoint(c).normalize('NFC') !== String.fromCodePoint(c)) category[c] |= 0x40
for (const [, second] of compositions) category[second] |= 0x40
for (let c = 0; c <= lastCodePoint; c++) if (classes[c]) category[c] |= 0x40
for (let c = 0x1161; c <= 0x1175; c++) category[c] |= 0x40 // Hangul vowels
for (let c = 0x11a8; c <= 0x11c2; c++) category[c] |= 0x40 // and final consonants

for (let c = 0x300; c <= lastCodePoint; c++) if (!isSurrogate(c) && joinsGrapheme(c)) category[c] |= 0x80

const properties = twoLevel(category)
const combining = twoLevel(classes)
const compatible = compatibility()
const lowercase = lowercaseRanges()
const parts = [...decompositions, ...compatible].flatMap(([, list]) => list)
let offset = 0
const toRow = ([c, list]) => {
  const row = [c, offset * 32 + list.length]
  offset += list.length
  return row
}
const decompositionRows = decompositions.flatMap(toRow)
const compatibleRows = compatible.flatMap(toRow)

writeFileSync(
  new URL('unicode_tables.h', folder),
  `// Written by scripts/unicode.mjs from Unicode ${process.versions.unicode}. Do not edit.
#pragma once

#include <cstddef>
#include <cstdint>

namespace infernode::unicode {

// General categories, in the order of their two-letter names.
enum Category : uint8_t {
  ${categories.slice(0, 20).map((name) => `k${name}`).join(', ')},
  ${categories.slice(20).map((name) => `k${name}`).join(', ')}
};

constexpr int kBlockBits = ${blockBits};
// Per code point, through kPropertyIndex[c >> kBlockBits]: category, 0x20 white space, 0x40 of concern to NFC, 0x80 joins the
// grapheme before it.
extern const uint8_t kPropertyIndex[${properties.index.length}];
extern const uint8_t kProperties[${properties.values.length}];
// Canonical combining classes as dense ranks; 0 is a starter.
extern const uint8_t kCombiningIndex[${combining.index.length}];
extern const uint8_t kCombining[${combining.values.length}];

// Full canonical decompositions without Hangul, by code point: 'parts' is offset in kParts * 32 + length.
struct Decomposition {
  uint32_t code_point, parts;
};
constexpr size_t kDecompositionCount = ${decompositions.length};
extern const Decomposition kDecompositions[kDecompositionCount];
// Full compatibility decompositions, where they are not the canonical ones.
constexpr size_t kCompatibilityCount = ${compatible.length};
extern const Decomposition kCompatibility[kCompatibilityCount];
extern const uint32_t kParts[${parts.length}];

// Canonical compositions, by first and second.
struct Composition {
  uint32_t first, second, composed;
};
constexpr size_t kCompositionCount = ${compositions.length};
extern const Composition kCompositions[kCompositionCount];

// Every \`step\`th code point from first to last has its lower case \`delta\` further. U+0130 is not among them.
struct LowercaseRange {
  uint32_t first, last, step;
  int32_t delta;
};
constexpr size_t kLowercaseCount = ${lowercase.length};
extern const LowercaseRange kLowercase[kLowercaseCount];

}  // namespace infernode::unicode
`,
)

writeFileSync(
  new URL('unicode_tables.cc', folder),
  `// Written by scripts/unicode.mjs from Unicode ${process.versions.unicode}. Do not edit.
#include "tokenizer/unicode_tables.h"

namespace infernode::unicode {

const uint8_t kPropertyIndex[] = {
${wrap(properties.index)}
};
const uint8_t kProperties[] = {
${wrap(properties.values)}
};
const uint8_t kCombiningIndex[] = {
${wrap(combining.index)}
};
const uint8_t kCombining[] = {
${wrap(combining.values)}
};
const Decomposition kDecompositions[] = {
${wrap(decompositionRows)}
};
const Decomposition kCompatibility[] = {
${wrap(compatibleRows)}
};
const uint32_t kParts[] = {
${wrap(parts)}
};
const Composition kCompositions[] = {
${wrap(compositions.flat())}
};
const LowercaseRange kLowercase[] = {
${wrap(lowercase.flatMap(({ first, last, step, delta }) => [first, last, step, delta]))}
};

}  // namespace infernode::unicode
`,
)
