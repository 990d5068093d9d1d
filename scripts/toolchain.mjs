// What the build scripts share: where things are, which tools this machine has, and how to run a command quietly.
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { availableParallelism, totalmem } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = join(dirname(fileURLToPath(import.meta.url)), '..')
export const packageJson = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

/** CMake's build trees. Apart from build/, which node-gyp empties at every rebuild. */
export const cmakeTree = (name = 'release') => join(root, 'build-cmake', name)

/** One compiler per core, but no more than memory allows: a file of kernels takes up to 0.8 GB. */
export const buildJobs = Math.max(1, Math.min(availableParallelism(), Math.floor(totalmem() / 2 ** 30)))

/** Compilers and make find their settings in these; those of an outer make are not ours. */
export function cleanEnv(extra = {}) {
  const env = { ...process.env, ...extra }
  for (const name of ['MAKEFLAGS', 'MAKELEVEL', 'MFLAGS', 'V', 'BUILDTYPE']) delete env[name]
  return env
}

const works = (command, args, input) => spawnSync(command, args, { input, stdio: ['pipe', 'ignore', 'ignore'] }).status === 0

/** Names of what a native build needs and this machine lacks, as a person would install them. */
export function missingTools() {
  const missing = []
  if (!works('cmake', ['--version'])) missing.push('CMake')
  const compilers = process.env.CXX ? [process.env.CXX] : ['c++', 'g++', 'clang++']
  const program = '#include <bit>\n#include <concepts>\nstatic_assert(std::popcount(3u) == 2 && std::integral<int>);\n'
  const flags = ['-std=c++20', '-fsyntax-only', '-x', 'c++', '-']
  if (!compilers.some((compiler) => works(compiler, flags, program))) missing.push('a C++20 compiler')
  if (!works('make', ['--version']) && !works('ninja', ['--version'])) missing.push('make')
  return missing
}

/** The command line of a package of devDependencies, as arguments for node. */
export function binOf(packageName, bin = packageName) {
  const folder = join(root, 'node_modules', packageName)
  const manifest = join(folder, 'package.json')
  if (!existsSync(manifest)) throw new Error(`${packageName} is not installed: run "npm install" (with development dependencies) first.`)
  const { bin: bins } = JSON.parse(readFileSync(manifest, 'utf8'))
  return join(folder, typeof bins === 'string' ? bins : bins[bin])
}

/**
 * Runs a command in the package folder and returns { status, output }. `onLine` sees each line as it comes. Nothing is printed: whoever
 * calls decides what of the output is worth showing.
 */
export function capture(command, args, { onLine, env = cleanEnv(), cwd = root } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    let rest = ''
    const take = (chunk) => {
      output += chunk
      const lines = (rest + chunk).split('\n')
      rest = lines.pop()
      if (onLine) lines.forEach(onLine)
    }
    child.stdout.setEncoding('utf8').on('data', take)
    child.stderr.setEncoding('utf8').on('data', take)
    child.on('error', (cause) => resolve({ status: 127, output: `${output}${cause.message}\n` }))
    child.on('close', (status) => resolve({ status: status ?? 1, output }))
  })
}

// Sanitized kernels take minutes to compile, so not every variant: races are between threads, whatever the instructions; and the
// AVX-512 variants left out differ from avx512_vnni in a header each, amx in its tiles. Without sanitizers, all variants are tested.
const sanitizedIsas = { thread: 'avx2', 'address,undefined': 'avx2;avx512_vnni' }

/** Builds targets of CMakeLists.txt under sanitizers ('' for none, shares the addon's objects) and returns the build tree. */
export async function cmakeBuild(sanitize, targets) {
  const tree = cmakeTree(sanitize ? sanitize.replace(/\W+/g, '-') : 'release')
  const isas = process.arch === 'x64' ? (sanitizedIsas[sanitize] ?? '') : ''
  for (const step of [
    ['-S', '.', '-B', tree, '-DCMAKE_BUILD_TYPE=Release', `-DINFERNODE_SANITIZE=${sanitize}`, `-DINFERNODE_ISAS=${isas}`],
    ['--build', tree, '--target', ...targets, '--parallel', String(buildJobs)],
  ]) {
    const { status, output } = await capture('cmake', step)
    if (status !== 0) throw new Error(`cmake ${step.join(' ')}:\n${output.slice(-8000)}`)
  }
  return tree
}

/** Runs a command with its output shown; throws when it fails. */
export function run(command, args, options = {}) {
  const { status, signal, error } = spawnSync(command, args, { cwd: root, env: cleanEnv(), stdio: 'inherit', ...options })
  if (error) throw error
  if (status !== 0) throw new Error(`${[command, ...args].join(' ')}: ${signal ?? `exit status ${status}`}`)
}

/** "a, b, and c" */
export const listOf = (names) => new Intl.ListFormat('en').format(names)

/** Ends a script with one line instead of a stack trace. */
export function fail(cause) {
  console.error(`infernode: ${cause instanceof Error ? cause.message : cause}`)
  process.exit(1)
}
