// The C++ tests. `--sanitize address,undefined`: the same under sanitizers; `--sanitize thread`: the engine driver, under TSan.
// What follows goes to the test program (doctest: -tc=NAME runs the cases of that name).
import { spawnSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { buildJobs, capture, cleanEnv, cmakeTree, fail, listOf, missingTools, root } from './toolchain.mjs'

const args = process.argv.slice(2)
const sanitize = args[0] === '--sanitize' ? args.splice(0, 2)[1] : ''
// Sanitized kernels take minutes to compile, so not every variant: races are between threads, whatever the instructions; and the
// two AVX-512 variants left out differ from avx512_vnni in a header each. Without sanitizers, all variants are tested.
const sanitizedIsas = { thread: 'avx2', 'address,undefined': 'avx2;avx512_vnni' }
const isas = process.arch === 'x64' ? (sanitizedIsas[sanitize] ?? '') : ''
const target = sanitize === 'thread' ? 'engine_driver' : 'native_tests'

async function build(tree) {
  const missing = missingTools()
  const doctest = spawnSync(process.env.CXX ?? 'c++', ['-E', '-x', 'c++', '-'], { input: '#include <doctest/doctest.h>\n', stdio: ['pipe', 'ignore', 'ignore'] })
  if (target === 'native_tests' && doctest.status !== 0) missing.push('doctest (Debian, Ubuntu: apt-get install doctest-dev)')
  if (missing.length > 0) throw new Error(`the native tests need ${listOf(missing)}.`)
  for (const step of [
    ['-S', '.', '-B', tree, '-DCMAKE_BUILD_TYPE=Release', `-DINFERNODE_SANITIZE=${sanitize}`, `-DINFERNODE_ISAS=${isas}`],
    ['--build', tree, '--target', target, '--parallel', String(buildJobs)],
  ]) {
    const { status, output } = await capture('cmake', step)
    if (status !== 0) throw new Error(`cmake ${step.join(' ')}:\n${output.slice(-8000)}`)
  }
}

/** The plan of the embedded model, as the driver takes it. */
function writePlan(path) {
  const main = join(root, 'dist', 'cli', 'main.js')
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, 'inspect', '--plan', '--json'], { encoding: 'utf8', maxBuffer: 1 << 28 })
  if (status !== 0) throw new Error(`no plan to drive the engine with: ${stderr}`)
  writeFileSync(path, JSON.stringify(JSON.parse(stdout).plan))
  return path
}

try {
  const tree = cmakeTree(sanitize ? sanitize.replace(/\W+/g, '-') : 'release') // shares the addon's objects
  await build(tree)
  const env = cleanEnv({
    INFERNODE_GOLDENS: process.env.INFERNODE_GOLDENS ?? join(root, 'test', 'fixtures', 'goldens'),
    ASAN_OPTIONS: 'detect_stack_use_after_return=1:strict_string_checks=1',
    UBSAN_OPTIONS: 'print_stacktrace=1',
    TSAN_OPTIONS: 'halt_on_error=1:second_deadlock_stack=1',
  })
  if (target === 'engine_driver') args.unshift(writePlan(join(tree, 'plan.json')))
  // The thread sanitizer wants its addresses where it expects them, and newer kernels spread them wider.
  const command = [join(tree, target), ...args]
  if (sanitize === 'thread' && existsSync('/usr/bin/setarch')) command.unshift('/usr/bin/setarch', process.arch === 'x64' ? 'x86_64' : 'aarch64', '-R')
  const { status, signal } = spawnSync(command[0], command.slice(1), { cwd: root, env, stdio: 'inherit' })
  if (status !== 0) throw new Error(`${target} ended with ${signal ?? `status ${status}`}`)
} catch (cause) {
  fail(cause)
}
