/**
 * infernode's tokenizers beside @huggingface/tokenizers (a tokenizer.json each) and node-llama-cpp (GGUF vocabularies), on a
 * megabyte of mixed text, one thread: `npm run bench:tokenizers -- [--json] [--turns 5] [a.gguf | tokenizer.json …]`. By default
 * the small tokenizers of test/fixtures, and real vocabularies where INFERNODE_TOKENIZERS (default ../shared/tokenizers) has some.
 * Both sides take turns, and the median counts; what they give is compared too.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { openGguf } from '../../dist/formats/gguf.js'
import { Tokenizer } from '../../dist/tokenizer/tokenizer.js'

const here = dirname(fileURLToPath(import.meta.url))
const root = join(here, '../..')
const { values: args, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'boolean', default: false }, turns: { type: 'string', default: '5' } },
})
const turns = Number(args.turns)
const vocabularies = process.env.INFERNODE_TOKENIZERS ?? join(root, '../shared/tokenizers')
const models = process.env.INFERNODE_TEST_MODELS ?? join(root, '../shared/models')
/** Ratios to reach, ours / peer (issue 4). */
const targets = { '@huggingface/tokenizers': 5, 'node-llama-cpp': 1 }

function defaults() {
  const made = join(root, 'test/fixtures/tokenizers/made')
  const kinds = ['gpt2', 'llama3', 'qwen2', 'gpt-4o', 'deepseek-v3', 'llama2-bpe-fallback', 'gemma-bpe-fallback', 'wordpiece-uncased', 'unigram-t5']
  const real = existsSync(vocabularies) ? readdirSync(vocabularies).filter((name) => name.endsWith('.gguf')).map((name) => join(vocabularies, name)) : []
  const extra = [join(models, 'minilm/tokenizer.json'), join(models, 'gemma3-270m/gemma-3-270m.gguf')].filter((path) => existsSync(path))
  return [...kinds.map((kind) => join(made, kind, 'tokenizer.json')), ...real, ...extra]
}

/** Prose, code, Chinese and Japanese, emoji, numbers: a fifth of a megabyte each, in paragraphs that take turns. */
function mixedText() {
  const files = (folder, end) => readdirSync(join(root, folder), { recursive: true }).filter((name) => name.endsWith(end)).sort()
  const all = (folder, end) => files(folder, end).map((name) => readFileSync(join(root, folder, name), 'utf8')).join('\n')
  let state = 1
  const random = (n) => (state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0) % n
  const made = (word) => Array.from({ length: 40 }, (_, i) => word(i)).join('')
  const cjk = () => made(() => String.fromCodePoint(random(4) ? 0x4e00 + random(3000) : 0x3041 + random(80)) + (random(12) ? '' : '。'))
  const emoji = () => made(() => `${String.fromCodePoint(0x1f600 + random(60))}${random(3) ? '' : '\u200d♀️'} ${random(4) ? '' : 'wow '}`)
  const numbers = () => made(() => `${random(10 ** (1 + random(9)))}${'.,: -'[random(5)]}`)
  const cut = (text) => text.repeat(Math.ceil(210_000 / text.length)).slice(0, 210_000).match(/[^]{1,600}/g)
  const kinds = [cut(all('docs', '.md')), cut(all('src', '.ts')), [cjk], [emoji], [numbers]]
  let text = ''
  const bytes = new Array(kinds.length).fill(0)
  for (let i = 0; Buffer.byteLength(text) < 1e6; i++) {
    const k = bytes.indexOf(Math.min(...bytes))
    const part = typeof kinds[k][0] === 'function' ? kinds[k][0]() : kinds[k][i % kinds[k].length]
    bytes[k] += Buffer.byteLength(part)
    text += `${part}\n`
  }
  return text
}

function install() {
  const { dependencies } = JSON.parse(readFileSync(join(here, 'package.json'), 'utf8'))
  const platform = { linux: 'linux', darwin: 'mac', win32: 'win' }[process.platform]
  const binary = `@node-llama-cpp/${platform}-${process.arch}${platform === 'mac' && process.arch === 'arm64' ? '-metal' : ''}`
  if (Object.keys(dependencies).every((name) => existsSync(join(here, 'node_modules', name)))) return
  const how = ['--no-save', '--no-package-lock', '--omit=optional', '--ignore-scripts', '--no-audit', '--no-fund']
  execFileSync('npm', ['install', ...how, `${binary}@${dependencies['node-llama-cpp']}`], { cwd: here, stdio: ['ignore', 2, 2], shell: platform === 'win' })
}

async function ours(path) {
  const config = join(dirname(path), 'tokenizer_config.json')
  const source = path.endsWith('.gguf')
    ? (await openGguf(path)).tokenizer
    : { from: 'tokenizer.json', path, config: existsSync(config) ? JSON.parse(readFileSync(config, 'utf8')) : {} }
  const tokenizer = await Tokenizer.load(source)
  // @huggingface/tokenizers always finds control tokens that are spelled out; llama.cpp only if asked to.
  const options = { addSpecial: false, parseSpecial: !path.endsWith('.gguf') }
  return async (text) => (await tokenizer.encode(text, options)).ids
}

let llama
async function peer(path) {
  if (!path.endsWith('.gguf')) {
    const { Tokenizer: Theirs } = await import('@huggingface/tokenizers')
    const tokenizer = new Theirs(JSON.parse(readFileSync(path, 'utf8')), {})
    return { name: '@huggingface/tokenizers', encode: (text) => tokenizer.encode(text, { add_special_tokens: false }).ids }
  }
  const { getLlama, LlamaLogLevel } = await import('node-llama-cpp')
  llama ??= await getLlama({ gpu: false, build: 'never', maxThreads: 1, logLevel: LlamaLogLevel.error })
  const model = await llama.loadModel({ modelPath: path, gpuLayers: 0, vocabOnly: true })
  return { name: 'node-llama-cpp', encode: (text) => model.tokenize(text, false) }
}

const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)]

async function timed(run) {
  const start = performance.now()
  const ids = await run()
  return { seconds: (performance.now() - start) / 1000, ids }
}

async function compare(path, text) {
  const name = basename(path) === 'tokenizer.json' ? basename(dirname(path)) : basename(path)
  const mine = await ours(path)
  let theirs
  try {
    theirs = await peer(path)
    theirs.encode(text)
  } catch (cause) {
    return { name, problem: String(cause.message ?? cause).split('\n')[0] }
  }
  const times = [[], []]
  let found
  for (let turn = 0; turn <= turns; turn++) {
    // Who goes first changes; the first turn fills caches and does not count.
    const order = turn % 2 === 0 ? [0, 1] : [1, 0]
    const results = []
    for (const i of order) results[i] = await timed(() => (i === 0 ? mine(text) : theirs.encode(text)))
    if (turn === 0) found = results.map(({ ids }) => ids)
    else for (const i of order) times[i].push(results[i].seconds)
  }
  const megabytes = Buffer.byteLength(text) / 1e6
  const [a, b] = times.map((list) => megabytes / median(list))
  const equal = found[0].length === found[1].length && found[0].every((id, i) => id === Number(found[1][i]))
  return { name, peer: theirs.name, ours: a, theirs: b, ratio: a / b, target: targets[theirs.name], tokens: found[0].length, equal }
}

install()
const load = loadavg()[0]
if (load > 0.5) process.stderr.write(`WARNING: this machine is busy (load ${load.toFixed(1)}).\n`)
const text = mixedText()
const rows = []
for (const path of positionals.length > 0 ? positionals : defaults()) {
  const row = await compare(path, text)
  rows.push(row)
  if (args.json) continue
  if (row.problem) console.log(`${row.name.padEnd(24)} the peer fails: ${row.problem}`)
  else {
    const speed = [row.ours, row.theirs].map((s) => s.toFixed(2).padStart(8)).join(' MB/s')
    const same = row.equal ? 'same ids' : 'OTHER IDS'
    console.log(`${row.name.padEnd(24)}${speed} MB/s ${row.peer}; ${row.ratio.toFixed(1)}× (wanted ${row.target}×); ${row.tokens} tokens, ${same}`)
  }
}
const about = { cpu: cpus()[0].model, node: process.version, date: new Date().toISOString(), loadBefore: load, bytes: Buffer.byteLength(text) }
console.log(args.json ? JSON.stringify({ rows, ...about }) : `${about.bytes} bytes, ${about.cpu}, Node ${about.node}, ${about.date.slice(0, 10)}`)
process.exit(0)
