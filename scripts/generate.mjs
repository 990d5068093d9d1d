// Prints the tables of src/ (ops, tensor types, errors) for C++ and for people. `--check` only compares, and fails where a
// file is stale.
// Runs on dist/, so build TypeScript first: npm run build:ts && npm run generate
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { errorCodes } from '../dist/errors.js'
import { listCapacity, ops } from '../dist/graph/ops.js'
import { tensorTypes } from '../dist/tensor-types.js'
import { root } from './toolchain.mjs'

const lines = (...parts) => `${parts.flat(Infinity).join('\n')}\n`
const snake = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
const capital = (word) => word[0].toUpperCase() + word.slice(1)
const pascal = (name) => name.split('_').map(capital).join('')

const writtenFrom = (source) => `// Written by scripts/generate.mjs from ${source}. Do not edit.`

// native/generated/errors.h

const errorsHeader = lines(
  writtenFrom('src/errors.ts'),
  '#pragma once',
  '',
  '#include <cstdint>',
  '',
  'namespace infernode {',
  '',
  'enum class ErrorCode : uint8_t {',
  errorCodes.map((code) => `  k${pascal(code.toLowerCase())},`),
  '};',
  '',
  'inline constexpr const char* kErrorNames[] = {',
  errorCodes.map((code) => `    "${code}",`),
  '};',
  '',
  '}  // namespace infernode',
)

// native/generated/tensor_types.h

const typeNames = Object.keys(tensorTypes)
const enumerator = (type) => `k${type.split('_').map(capital).join('_')}`

/** What a matmul reads; types that are no weights of one stand for themselves. */
const activationsOf = (type) => enumerator(tensorTypes[type].activations ?? type)

const tensorTypesHeader = lines(
  writtenFrom('src/tensor-types.ts'),
  '#pragma once',
  '',
  '#include <cstddef>',
  '#include <cstdint>',
  '',
  'namespace infernode {',
  '',
  'enum class TensorType : uint8_t {',
  typeNames.map((type) => `  ${enumerator(type)},`),
  '  kCount,',
  '};',
  '',
  'struct TensorTypeInfo {',
  '  const char* name;',
  '  uint32_t block_values;   // values per block',
  "  uint32_t block_bytes;    // bytes per block; activations (a8_*) store the parts of a row's blocks side by side",
  '  TensorType activations;  // what a matmul with weights of this type reads: f32, a8_32 or a8_256',
  '};',
  '',
  'inline constexpr TensorTypeInfo kTensorTypes[] = {',
  typeNames.map((type) => {
    const { blockValues, blockBytes } = tensorTypes[type]
    return `    {"${type}", ${blockValues}, ${blockBytes}, TensorType::${activationsOf(type)}},`
  }),
  '};',
  '',
  'constexpr const TensorTypeInfo& info(TensorType type) { return kTensorTypes[static_cast<size_t>(type)]; }',
  'constexpr size_t row_bytes(TensorType type, size_t values) { return values / info(type).block_values * info(type).block_bytes; }',
  '',
  '}  // namespace infernode',
)

// native/generated/blocks.h

/** Types that weights have: the others are indices or activations. */
const weightTypes = typeNames.filter((type) => tensorTypes[type].activations !== null)

const blocksHeader = lines(
  writtenFrom('src/tensor-types.ts'),
  '#pragma once',
  '',
  weightTypes.map((type) => `#include "quant/${type}.h"`).sort(),
  '',
  '// X(enumerator of TensorType, struct in namespace quant): every type that weights have.',
  '#define INFERNODE_BLOCKS(X) \\',
  weightTypes.map((type, i) => `  X(${enumerator(type)}, ${enumerator(type).slice(1)})${i < weightTypes.length - 1 ? ' \\' : ''}`),
)

// native/generated/ops.h

const roles = { inputs: ['Value', 'input'], weights: ['Weight', 'weight'], outputs: ['Value', 'output'] }

/** Fields in the order of the table: type, name, comment, and the call that shows the field to a visitor. */
function fieldsOf(op) {
  const fields = []
  for (const [role, [type, verb]] of Object.entries(roles)) {
    for (const [name, arity] of Object.entries(op[role])) {
      const list = arity.endsWith('list')
      const optional = arity.startsWith('optional')
      const call = `${optional ? 'optional_' : ''}${verb}${list ? 's' : ''}`
      const comment = !optional ? '' : list ? '  // empty, or one per weight (each may be absent)' : '  // optional'
      fields.push({
        type: list ? `List<${type}>` : type,
        name: snake(name),
        comment,
        call: `${call}("${name}", ${snake(name)})`,
      })
    }
  }
  for (const [name, type] of Object.entries(op.attributes)) {
    const names = typeof type === 'string' ? '' : `, k${type.name}Names`
    const cpp = { f32: 'float', u32: 'uint32_t' }[type] ?? type.name
    fields.push({ type: cpp, name: snake(name), comment: '', call: `attribute("${name}", ${snake(name)}${names})` })
  }
  return fields
}

function opStruct([name, op]) {
  const fields = fieldsOf(op)
  return [
    op.doc.map((line) => `// ${line}`),
    'template <class Value, class Weight>',
    `struct ${capital(name)} {`,
    `  static constexpr const char* kName = "${name}";`,
    fields.map(({ type, name, comment }) => `  ${type} ${name};${comment}`),
    '  template <class Visitor>',
    '  void visit(Visitor&& visitor) {',
    fields.map(({ call }) => `    visitor.${call};`),
    '  }',
    '};',
    '',
  ]
}

const enumerations = new Map(
  Object.values(ops)
    .flatMap((op) => Object.values(op.attributes))
    .filter((type) => typeof type !== 'string')
    .map((type) => [type.name, type.words]),
)

const opsHeader = lines(
  writtenFrom('src/graph/ops.ts'),
  '// One struct per op. A plan holds them over (ValueId, WeightId), a kernel gets them over (Rows, Weight): see native/plan.h.',
  '#pragma once',
  '',
  '#include <cstdint>',
  '',
  'namespace infernode::ops {',
  '',
  '// Several operands of one role: the weights of a grouped linear, for example.',
  'template <class T>',
  'struct List {',
  `  static constexpr uint32_t kCapacity = ${listCapacity};`,
  '  T items[kCapacity];',
  '  uint32_t n = 0;',
  '  T* begin() { return items; }',
  '  T* end() { return items + n; }',
  '  const T* begin() const { return items; }',
  '  const T* end() const { return items + n; }',
  '  T& operator[](uint32_t i) { return items[i]; }',
  '  const T& operator[](uint32_t i) const { return items[i]; }',
  '};',
  '',
  [...enumerations].map(([name, words]) => [
    `enum class ${name} : uint8_t { ${words.map((word) => `k${capital(word)}`).join(', ')} };`,
    `inline constexpr const char* k${name}Names[] = {${words.map((word) => `"${word}"`).join(', ')}};`,
    '',
  ]),
  Object.entries(ops).map(opStruct),
  '}  // namespace infernode::ops',
  '',
  '// X(struct, kernel): every op, in the order of src/graph/ops.ts.',
  '#define INFERNODE_OPS(X) \\',
  Object.keys(ops).map((name, i, all) => `  X(${capital(name)}, ${snake(name)})${i < all.length - 1 ? ' \\' : ''}`),
)

// docs/ops.md

const operandsInWords = (operands) =>
  Object.entries(operands)
    .map(([name, arity]) => (arity === 'one' ? `\`${name}\`` : `\`${name}\` (${arity})`))
    .join(', ') || '–'

function opSection([name, op]) {
  const attributes = Object.entries(op.attributes).map(
    ([name, type]) => `\`${name}\`: ${typeof type === 'string' ? type : type.words.map((word) => `\`${word}\``).join(' or ')}`,
  )
  return [
    `## ${name}`,
    '',
    '```text',
    op.doc,
    '```',
    '',
    '| inputs | weights | outputs | attributes | fused |',
    '| --- | --- | --- | --- | --- |',
    `| ${operandsInWords(op.inputs)} | ${operandsInWords(op.weights)} | ${operandsInWords(op.outputs)} ` +
      `| ${attributes.join(', ') || '–'} | ${op.decompose ? 'yes: the row says how to take it apart' : 'no'} |`,
    '',
  ]
}

const opsPage = lines(
  '<!-- Written by scripts/generate.mjs from src/graph/ops.ts and src/tensor-types.ts. Do not edit. -->',
  '# Ops and tensor types',
  '',
  'T tokens of the step, N output rows, D dim, H heads, K KV heads, E head dim, V vocabulary. Values are [rows, width],',
  `row-major. A list has up to ${listCapacity} operands. Every op has a row in \`src/graph/ops.ts\`, a kernel in`,
  '`native/cpu/kernels` and float64 code in `test/reference`.',
  '',
  Object.entries(ops).map(opSection),
  '## Tensor types',
  '',
  'What a matmul with weights of a type reads: f32 values, or int8 with one scale per 32 (`a8_32`) or 256 values (`a8_256`).',
  '',
  '| type | values per block | bytes per block | bits per value | a matmul reads |',
  '| --- | ---: | ---: | ---: | --- |',
  Object.entries(tensorTypes).map(([name, { blockValues, blockBytes, activations }]) => {
    return `| ${name} | ${blockValues} | ${blockBytes} | ${((8 * blockBytes) / blockValues).toFixed(2)} | ${activations ?? '–'} |`
  }),
)

const files = {
  'native/generated/errors.h': errorsHeader,
  'native/generated/tensor_types.h': tensorTypesHeader,
  'native/generated/blocks.h': blocksHeader,
  'native/generated/ops.h': opsHeader,
  'docs/ops.md': opsPage,
}

const check = process.argv.includes('--check')
let stale = 0
for (const [file, text] of Object.entries(files)) {
  const path = join(root, file)
  let current = null
  try {
    current = readFileSync(path, 'utf8')
  } catch {
    // It is not there yet.
  }
  if (current === text) continue
  stale++
  if (!check) writeFileSync(path, text)
  console.log(`${file}: ${check ? 'differs from the tables' : 'written'}`)
}
if (check && stale > 0) {
  console.error('Run `npm run build:ts && npm run generate` and commit the result.')
  process.exitCode = 1
}
