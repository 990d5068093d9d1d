/**
 * Speed of whole models: `npm run bench -- [case …] [--threads 2] [--isa avx2] [--repeat 5] [--quick] [--json]`. The cases are
 * the files of bench/models; `npm run bench:peers` compares with others, `infernode bench` measures any checkpoint.
 */
import { execFileSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { cpus } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'

const here = dirname(fileURLToPath(import.meta.url))
const { values: args, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    threads: { type: 'string' },
    isa: { type: 'string' },
    repeat: { type: 'string', default: '5' },
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
})

const known = readdirSync(join(here, 'models'))
  .filter((name) => name.endsWith('.mjs'))
  .map((name) => name.slice(0, -4))
const unknown = positionals.filter((name) => !known.includes(name))
if (unknown.length > 0) {
  console.error(`There is no case ${unknown.join(', ')}; there are ${known.join(', ')}.`)
  process.exit(2)
}

const results = []
for (const name of positionals.length > 0 ? positionals : known) {
  const { checkpoint, about } = await import(pathToFileURL(join(here, 'models', `${name}.mjs`)).href)
  const path = await checkpoint()
  const flags = ['--json', '--repeat', args.quick ? '2' : args.repeat, ...(path ? ['--model', path] : [])]
  if (args.threads) flags.push('--threads', args.threads)
  if (args.isa) flags.push('--isa', args.isa)
  // A process for each, so that every case starts from the same state.
  const output = execFileSync(process.execPath, [join(here, '../dist/cli/main.js'), 'bench', ...flags], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 2],
  })
  results.push({ name, about, ...JSON.parse(output) })
  if (!args.json) print(results.at(-1))
}
const commit = tryGit()
if (args.json) console.log(JSON.stringify({ results, cpu: cpus()[0].model, commit, date: new Date().toISOString() }))
else console.log(`${cpus()[0].model}, commit ${commit ?? 'unknown'}, ${new Date().toISOString().slice(0, 10)}`)

function print({ name, about, model, prompt, generation }) {
  console.log(`${name}: ${about}; isa ${model.isa}, ${model.threads} threads`)
  const line = (what, speed, share, limit) =>
    console.log(`  ${what.padEnd(10)}  ${speed.toFixed(1).padStart(9)} tokens/s  ${percent(share)} of the ${limit}`)
  line('prompt', prompt.tokensPerSecond, prompt.shareOfInt8Peak, 'int8 peak')
  line('generation', generation.tokensPerSecond, generation.shareOfReadBandwidth, 'read bandwidth')
}

function percent(share) {
  return `${(100 * share).toFixed(0)} %`
}

function tryGit() {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], {
      cwd: here,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim()
  } catch {
    return undefined
  }
}
