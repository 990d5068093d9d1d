/**
 * Speed of tokenizers on one thread: `node bench/tokenizer.mjs [a.gguf | tokenizer.json …] [--json]`, by default the small ones of
 * test/fixtures. MB/s are UTF-8 bytes of the text; the worst case is a megabyte of one letter, which is one word.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { openGguf } from '../dist/formats/gguf.js'
import { Tokenizer } from '../dist/tokenizer/tokenizer.js'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const { values: args, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'boolean', default: false } },
})

const made = join(root, 'test/fixtures/tokenizers/made')
const builtKinds = ['gpt2', 'llama3', 'qwen2', 'gpt-4o', 'tekken', 'deepseek-v3', 'smollm']
const paths = positionals.length > 0 ? positionals : builtKinds.map((name) => join(made, name, 'tokenizer.json'))

const megabyte = 1 << 20
const texts = { prose: repeated(sources('docs', '.md')), code: repeated(sources('src', '.ts')), oneWord: 'a'.repeat(megabyte) }

function sources(folder, extension) {
  return readdirSync(join(root, folder), { recursive: true })
    .filter((file) => file.endsWith(extension))
    .sort()
    .map((file) => readFileSync(join(root, folder, file), 'utf8'))
    .join('\n')
}

function repeated(text) {
  return text.repeat(Math.ceil(megabyte / text.length)).slice(0, megabyte)
}

async function seconds(run) {
  const start = performance.now()
  await run()
  return (performance.now() - start) / 1000
}

/** Median of nine, after one that fills caches. */
async function median(run) {
  await run()
  const times = []
  for (let i = 0; i < 9; i++) times.push(await seconds(run))
  return times.sort((a, b) => a - b)[4]
}

const results = []
for (const path of paths) {
  const source = path.endsWith('.gguf') ? (await openGguf(path)).tokenizer : { from: 'tokenizer.json', path, config: {} }
  const load = async () => (tokenizer = await Tokenizer.load(source))
  let tokenizer
  const result = {
    name: basename(path) === 'tokenizer.json' ? basename(dirname(path)) : basename(path),
    loadMs: 1000 * (await median(load)),
  }
  result.vocabSize = tokenizer.vocabSize
  for (const [name, text] of Object.entries(texts)) {
    const bytes = Buffer.byteLength(text)
    const { ids } = await tokenizer.encode(text)
    result[name] = {
      encodeMBps: bytes / 1e6 / (await median(() => tokenizer.encode(text))),
      withOffsetsMBps: bytes / 1e6 / (await median(() => tokenizer.encode(text, { offsets: true }))),
      decodeMBps: bytes / 1e6 / (await median(() => tokenizer.decode(ids))),
      tokens: ids.length,
    }
  }
  results.push(result)
  if (!args.json) print(result)
}
const about = { cpu: cpus()[0].model, node: process.version, date: new Date().toISOString() }
console.log(args.json ? JSON.stringify({ results, ...about }) : `${about.cpu}, Node ${about.node}, ${about.date.slice(0, 10)}`)

function print({ name, loadMs, vocabSize, ...speeds }) {
  console.log(`${name}: ${vocabSize} pieces, loaded in ${loadMs.toFixed(1)} ms`)
  for (const text of Object.keys(texts)) {
    const { encodeMBps, withOffsetsMBps, decodeMBps, tokens } = speeds[text]
    const speed = [encodeMBps, withOffsetsMBps, decodeMBps].map((s) => s.toFixed(1).padStart(6))
    console.log(`  ${text.padEnd(8)} encode ${speed[0]} MB/s, with offsets ${speed[1]}, decode ${speed[2]}; ${tokens} tokens`)
  }
}
