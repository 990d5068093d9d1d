// Fuzzing: `npm run fuzz -- [--seconds 60 | --hours 2] [--seed N] [target …]`, time for all targets together. What is native runs
// under libFuzzer with the address and undefined-behaviour sanitizers (test/fuzz/*_fuzz.cc; needs clang, and is skipped loudly
// without it); what is TypeScript under seeded changes to files (test/fuzz/files.test.ts, target "files"). Inputs that libFuzzer
// found worth keeping stay in build-cmake/fuzz/corpus; one that fails is in build-cmake/fuzz/failures, and its path is printed.
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { binOf, buildJobs, capture, cleanEnv, cmakeTree, fail, root } from './toolchain.mjs'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: 'string' },
    hours: { type: 'string' },
    seed: { type: 'string' },
    // CI wants clang to be there.
    'require-clang': { type: 'boolean', default: false },
  },
})
const natives = readdirSync(join(root, 'test/fuzz')).flatMap((name) => (name.endsWith('_fuzz.cc') ? [name.slice(0, -8)] : []))
const seconds = values.hours !== undefined ? 3600 * Number(values.hours) : Number(values.seconds ?? 60)
const seed = Number(values.seed ?? (Date.now() % 2 ** 31) + 1)
const tree = cmakeTree('fuzz')
const made = join(root, 'test/fixtures/tokenizers/made')
const formats = 8 // of files.test.ts, one after the other

function wanted() {
  const known = [...natives, 'files']
  const unknown = positionals.find((name) => !known.includes(name))
  if (unknown !== undefined || !(seconds > 0) || !Number.isInteger(seed)) throw new Error(`usage: npm run fuzz -- [--seconds N | --hours N] [--seed N] [${known.join(' | ')} …]`)
  return positionals.length > 0 ? positionals : known
}

/** Null, or why there can be no native targets. */
function clangProblem() {
  const program = 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }'
  const { error, status, stderr } = spawnSync('clang++', ['-fsanitize=fuzzer,address,undefined', '-x', 'c++', '-', '-o', '/dev/null'], { input: program })
  if (error) return 'clang++ is not installed'
  return status === 0 ? null : `clang++ cannot link fuzzers: ${String(stderr).trim().split('\n')[0]}`
}

async function build(targets) {
  for (const step of [
    ['-S', '.', '-B', tree, '-DCMAKE_BUILD_TYPE=Release', '-DCMAKE_CXX_COMPILER=clang++', '-DINFERNODE_FUZZ=ON'],
    ['--build', tree, '--target', ...targets.map((name) => `fuzz_${name}`), '--parallel', String(buildJobs)],
  ]) {
    const { status, output } = await capture('cmake', step)
    if (status !== 0) throw new Error(`cmake ${step.join(' ')}:\n${output.slice(-8000)}`)
  }
}

const text = (path) => readFileSync(path)
const kinds = () => readdirSync(made)
const joined = (...parts) => Buffer.concat(parts.map((part) => Buffer.from(part)))
const description = (kind) => text(join(made, kind, 'description.json')).toString().replace('"tokenizer.json"', `"test/fixtures/tokenizers/made/${kind}/tokenizer.json"`)

/** Inputs to begin with, by target: good ones, from which changes lead everywhere. */
const seeds = {
  json: () => [...kinds().map((kind) => text(join(made, kind, 'description.json'))), '{"a":[1,-2.5e3,"\\u00e9\\ud83e\\udd99",true,null]}'],
  plan: () => {
    const { stdout } = spawnSync(process.execPath, ['dist/cli/main.js', 'inspect', '--plan', '--json'], { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28 })
    return [JSON.stringify(JSON.parse(stdout).plan)]
  },
  tokenizer: () =>
    kinds().flatMap((_, i) => ['Once upon a time, there was 1 llama 🦙.\n\n', "naïve I'LL  <s>漢字</s>"].map((each, j) => joined([i, 7 + 16 * j], each, [0xff], 'b'))),
  detokenizer: () => kinds().map((_, i) => joined([i, 1, 3], Array.from({ length: 60 }, (_, j) => (j * 37 + i) % 256))),
  vocabulary: () => [
    ...[...'0123456789abc'].map((_, i) => joined([i], small(text(join(made, kinds()[i], 'tokenizer.json'))))),
    ...[0, 1, 2, 3, 4].map((i) => joined([0x80 + i, 2, 4, 3, 0, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0], 'a', [1, 0, 0, 0, 0, 0, 0, 0], 'b')),
  ],
  description: () => kinds().map((kind) => joined(description(kind), [0xff], 'Once upon a time 🦙')),
  charsmap: () => {
    const { normalizer } = JSON.parse(text(join(made, 'unigram-t5', 'tokenizer.json')).toString())
    const table = Buffer.from(normalizer.normalizers.find(({ type }) => type === 'Precompiled').precompiled_charsmap, 'base64')
    const size = Math.min(table.length, 0xffff)
    const tiny = joined([8, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0], 'a\0b\0')
    return [joined([size & 255, size >> 8], table.subarray(0, size), 'ﬁ①é'), joined([tiny.length, 0], tiny, 'abc')]
  },
  regex: async () => {
    const { compileRegex } = await import('../dist/tokenizer/regex.js')
    const programs = ['(?i:ab)|\\d{1,3}(?=(?:\\d{3})*\\b)|x+?y', '(?>a|b)*c|(?<=a)[b-d]{2,}|^.$', "[^\\r\\n\\p{L}]?\\p{L}++|\\s+(?!\\S)"]
    return Promise.all(programs.map(async (each) => joined(JSON.stringify(await compileRegex(each)), [0xff], 'aab 1234567 xxy c')))
  },
}

/** A tokenizer.json with few pieces, so that changes hit what matters. */
function small(json) {
  const file = JSON.parse(json.toString())
  const { model } = file
  const keep = (vocab) => Object.fromEntries(Object.entries(vocab).filter(([, id]) => id < 300))
  model.vocab = Array.isArray(model.vocab) ? model.vocab.slice(0, 60) : keep(model.vocab)
  if (model.merges) {
    const known = (merge) => (typeof merge === 'string' ? merge.split(' ') : merge)
    model.merges = model.merges.filter((merge) => [...known(merge), known(merge).join('')].every((piece) => piece in model.vocab)).slice(0, 40)
  }
  return JSON.stringify(file)
}

async function writeCorpus(name) {
  const folder = join(tree, 'corpus', name)
  mkdirSync(folder, { recursive: true })
  for (const each of await seeds[name]()) {
    const bytes = Buffer.from(each)
    writeFileSync(join(folder, createHash('sha1').update(bytes).digest('hex')), bytes)
  }
  return folder
}

/** Resolves with the status; the last lines of what it says are printed, all of them when it fails. */
function runNative(name, corpus, time) {
  const failures = join(tree, 'failures')
  mkdirSync(failures, { recursive: true })
  const dictionary = existsSync(join(root, 'test/fuzz/words.dict')) ? [`-dict=${join(root, 'test/fuzz/words.dict')}`] : []
  const args = [`-max_total_time=${Math.max(1, Math.round(time))}`, '-timeout=100', '-rss_limit_mb=1024', '-malloc_limit_mb=256', `-seed=${seed}`]
  args.push(`-artifact_prefix=${failures}/${name}-`, '-print_final_stats=1', '-max_len=65536', ...dictionary, corpus)
  const env = cleanEnv({ ASAN_OPTIONS: 'detect_stack_use_after_return=1', UBSAN_OPTIONS: 'print_stacktrace=1' })
  return new Promise((resolve) => {
    const child = spawn(join(tree, `fuzz_${name}`), args, { cwd: root, env, stdio: ['ignore', 'ignore', 'pipe'] })
    let said = ''
    child.stderr.on('data', (chunk) => (said = (said + chunk).slice(-200_000)))
    child.on('close', (status) => {
      const [, runs = '?'] = /number_of_executed_units: *(\d+)/.exec(said) ?? []
      console.log(`${status === 0 ? 'ok    ' : 'FAILED'}  ${name}: ${runs} inputs, seed ${seed}`)
      if (status !== 0) console.log(said.slice(-12_000))
      resolve(status === 0)
    })
  })
}

function runFiles(time) {
  // The test's own time limit is that of its formats; nothing else ends it.
  const env = cleanEnv({ FUZZ_SECONDS: String(time / formats), FUZZ_SEED: String(seed), NO_COLOR: '1' })
  const { status, stdout, stderr } = spawnSync(process.execPath, [binOf('vitest'), 'run', 'test/fuzz/files.test.ts'], { cwd: root, env, encoding: 'utf8', maxBuffer: 1 << 28 })
  console.log(`${status === 0 ? 'ok    ' : 'FAILED'}  files, seed ${seed}`)
  console.log((status === 0 ? (stdout.match(/^.*, seed \d+: .*$/gm) ?? []).map((line) => `        ${line}`).join('\n') : stdout + stderr))
  return status === 0
}

try {
  let targets = wanted()
  const problem = targets.some((name) => name !== 'files') ? clangProblem() : null
  if (problem) {
    if (values['require-clang']) throw new Error(`${problem} (Debian: apt-get install clang libclang-rt-14-dev, or the version of your clang)`)
    console.log(`SKIPPED: fuzzing of native code: ${problem}`)
    targets = targets.filter((name) => name === 'files')
  }
  const native = targets.filter((name) => name !== 'files')
  if (native.length > 0) await build(native)
  const share = seconds / Math.max(1, targets.length)
  const results = []
  for (const name of native) results.push(await runNative(name, await writeCorpus(name), share))
  if (targets.includes('files')) results.push(runFiles(share))
  const failed = results.filter((passed) => !passed).length
  console.log(`${results.length - failed} passed, ${failed} failed`)
  process.exitCode = failed > 0 ? 1 : 0
} catch (cause) {
  fail(cause)
}
