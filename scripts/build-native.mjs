// native/ → build/Release/infernode.node, through cmake-js. Incremental; says little unless it fails.
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import { binOf, buildJobs, capture, cmakeTree, fail, listOf, missingTools, root } from './toolchain.mjs'

export const toolsHint =
  'Install them (Debian, Ubuntu: apt-get install cmake g++ make; Fedora: dnf install cmake gcc-c++ make; macOS: xcode-select --install and CMake), then run "npm run build".'

export async function buildNative() {
  const missing = missingTools()
  if (missing.length > 0) throw new Error(`the native addon needs ${listOf(missing)}. ${toolsHint}`)

  const tree = cmakeTree()
  forgetMovedTree(tree)
  const started = performance.now()
  const say = progress()
  const args = ['build', '--out', relative(root, tree), '--parallel', String(buildJobs), '--target', 'infernode']
  const { status, output } = await capture(process.execPath, [binOf('cmake-js'), ...args], {
    onLine: (line) => say(/^\[ *(\d+)(?:%|\/(\d+))\]/.exec(line)),
  })
  if (status !== 0) {
    const first = output.split('\n').findIndex((line) => /\berror:|\bError \d/i.test(line))
    throw new Error(`the native addon does not compile.\n${output.split('\n').slice(Math.max(0, first - 2)).slice(0, 60).join('\n')}`)
  }

  // Node provides symbols that the linker cannot see, so it lets any be missing; loading does not.
  const built = join(tree, 'Release', 'infernode.node')
  const loaded = await capture(process.execPath, ['-e', 'require(process.argv[1])', built])
  if (loaded.status !== 0) throw new Error(`the native addon does not load.\n${loaded.output.trim()}`)

  // A rename, so that a process that has the old addon mapped keeps it. node-gyp-build takes the first .node that it finds there.
  const folder = join(root, 'build', 'Release')
  mkdirSync(folder, { recursive: true })
  copyFileSync(built, join(folder, 'infernode.node.new'))
  renameSync(join(folder, 'infernode.node.new'), join(folder, 'infernode.node'))
  const warnings = output.split('\n').filter((line) => /warning:/.test(line))
  if (warnings.length > 0) console.warn(warnings.join('\n'))
  console.error(`infernode: native addon ready after ${((performance.now() - started) / 1000).toFixed(0)} s`)
}

/** CMake refuses a build tree that was made for another folder. */
function forgetMovedTree(tree) {
  const cache = join(tree, 'CMakeCache.txt')
  if (!existsSync(cache)) return
  const home = /^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$/m.exec(readFileSync(cache, 'utf8'))?.[1]
  if (home !== root.replace(/[\\/]$/, '')) rmSync(tree, { recursive: true })
}

/** A line at the start and then one every ten seconds, on stderr: stdout belongs to `npm pack --json`. */
function progress() {
  console.error(`infernode: building the native addon (${buildJobs} ${buildJobs === 1 ? 'job' : 'jobs'}; the first time takes minutes)`)
  let next = performance.now() + 10_000
  return (match) => {
    if (!match || performance.now() < next) return
    next = performance.now() + 10_000
    const percent = match[2] ? Math.floor((100 * Number(match[1])) / Number(match[2])) : match[1]
    console.error(`infernode: ${percent} % of the native addon`)
  }
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) await buildNative().catch(fail)
