// The codebooks of the i-quants, out of the `quants.py` of the Python package gguf: `node scripts/codebooks.mjs FILE` writes
// native/quant/codebooks.h. Each entry becomes one 16-bit number, so that all of them take 9 KB. Run when a format gains a codebook.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './toolchain.mjs'

const source = readFileSync(process.argv[2], 'utf8')

/** In the source: a class with the shape of the grid and its level numbers, packed low bits first, in hexadecimal. */
function gridOf(type, values, bits) {
  const body = source.slice(source.indexOf(`class ${type}(`))
  const hex = body.slice(body.indexOf('grid_hex = ('), body.indexOf(')', body.indexOf('grid_hex = (')))
  const bytes = Buffer.from([...hex.matchAll(/b"([0-9a-f]+)"/g)].map((match) => match[1]).join(''), 'hex')
  const width = bits === 3 ? 4 : bits
  const levels = [...bytes].flatMap((byte) => Array.from({ length: 8 / width }, (_, i) => (byte >> (width * i)) & (2 ** width - 1)))
  return Array.from({ length: levels.length / values }, (_, entry) =>
    levels.slice(values * entry, values * (entry + 1)).reduce((word, level, i) => word | (level << (bits * i)), 0),
  )
}

function table(name, type, values, bits) {
  const words = gridOf(type, values, bits)
  const lines = []
  for (let i = 0; i < words.length; i += 12)
    lines.push(`    ${words.slice(i, i + 12).map((word) => `0x${word.toString(16).padStart(4, '0')}`).join(', ')},`)
  return [
    `// ${values} level numbers of ${bits} bits each, the first in the lowest.`,
    `constexpr uint16_t ${name}[${words.length}] = {`,
    ...lines,
    '};',
    '',
  ]
}

writeFileSync(
  join(root, 'native/quant/codebooks.h'),
  [
    '// Written by scripts/codebooks.mjs: which groups of levels the i-quants can express. Numbers of the formats, chosen by their author',
    '// from the groups that are frequent in trained weights.',
    '#pragma once',
    '',
    '#include <cstdint>',
    '',
    'namespace infernode::quant {',
    '',
    ...table('kIq2XxsGrid', 'IQ2_XXS', 8, 2),
    ...table('kIq2XsGrid', 'IQ2_XS', 8, 2),
    ...table('kIq2SGrid', 'IQ2_S', 8, 2),
    ...table('kIq3XxsGrid', 'IQ3_XXS', 4, 3),
    ...table('kIq3SGrid', 'IQ3_S', 4, 3),
    ...table('kIq1Grid', 'IQ1_S', 8, 2),
    '}  // namespace infernode::quant',
    '',
  ].join('\n'),
)
