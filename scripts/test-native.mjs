// The C++ tests. `--sanitize address,undefined`: the same under sanitizers; `--sanitize thread`: the engine driver, under TSan.
// What follows goes to the test program (doctest: -tc=NAME runs the cases of that name).
import { spawnSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { capture, cleanEnv, cmakeBuild, fail, listOf, missingTools, root } from './toolchain.mjs'

const args = process.argv.slice(2)
const sanitize = args[0] === '--sanitize' ? args.splice(0, 2)[1] : ''
const targets =
  sanitize === 'thread' ? ['engine_driver'] : process.platform === 'linux' ? ['native_tests', 'failing_system_tests'] : ['native_tests']

async function build() {
  const missing = missingTools()
  const doctest = spawnSync(process.env.CXX ?? 'c++', ['-E', '-x', 'c++', '-'], { input: '#include <doctest/doctest.h>\n', stdio: ['pipe', 'ignore', 'ignore'] })
  if (targets.includes('native_tests') && doctest.status !== 0) missing.push('doctest (Debian, Ubuntu: apt-get install doctest-dev)')
  if (missing.length > 0) throw new Error(`the native tests need ${listOf(missing)}.`)
  return cmakeBuild(sanitize, targets)
}

/** The plan and the tokenizer's description of the embedded model, as the native side takes them. */
async function writeEmbeddedModel(folder) {
  const dist = (name) => import(pathToFileURL(join(root, 'dist', name)).href)
  if (!existsSync(join(root, 'dist'))) throw new Error('the engine is driven with a plan that dist/ makes: run "npm run build:ts" first.')
  const { embeddedModel } = await dist('model.js')
  const checkpoint = await (await dist('formats/index.js')).openCheckpoint(embeddedModel)
  const files = { plan: join(folder, 'plan.json'), tokenizer: join(folder, 'tokenizer.json') }
  writeFileSync(files.plan, JSON.stringify(await (await dist('graph/compile.js')).compilePlan(checkpoint)))
  writeFileSync(files.tokenizer, JSON.stringify(await (await dist('tokenizer/tokenizer.js')).describe(checkpoint.tokenizer)))
  return files
}

try {
  const tree = await build()
  const model = await writeEmbeddedModel(tree)
  const env = cleanEnv({
    INFERNODE_TEST_PLAN: model.plan,
    INFERNODE_TEST_TOKENIZER: model.tokenizer,
    INFERNODE_GOLDENS: process.env.INFERNODE_GOLDENS ?? join(root, 'test', 'fixtures', 'goldens'),
    ASAN_OPTIONS: 'detect_stack_use_after_return=1:strict_string_checks=1',
    UBSAN_OPTIONS: 'print_stacktrace=1',
    TSAN_OPTIONS: 'halt_on_error=1:second_deadlock_stack=1',
  })
  let passed = 0
  let failed = 0
  for (const target of targets) {
    const command = [join(tree, target), ...(target === 'engine_driver' ? [model.plan] : []), ...args]
    // The thread sanitizer wants its addresses where it expects them, and newer kernels spread them wider.
    if (sanitize === 'thread' && existsSync('/usr/bin/setarch')) command.unshift('/usr/bin/setarch', process.arch === 'x64' ? 'x86_64' : 'aarch64', '-R')
    const { status, output } = await capture(command[0], command.slice(1), { env, onLine: (line) => console.log(line) })
    const [, ok, bad] = /test cases: *\d+ *\| *(\d+) passed *\| *(\d+) failed/.exec(output.replace(/\x1b\[[0-9;]*m/g, '')) ?? []
    passed += Number(ok ?? 0)
    failed += Number(bad ?? 0)
    if (status !== 0) throw new Error(`${target} ended with status ${status}`)
  }
  if (sanitize !== 'thread') console.log(`${passed} passed, ${failed} failed`)
} catch (cause) {
  fail(cause)
}
