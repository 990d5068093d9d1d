/** Gets what infernode is compared with where it is not installed yet, and copies of node-llama-cpp that see one of its CPU builds only. */
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))
const modules = join(here, 'node_modules')

/**
 * What package.json names, with node-llama-cpp's prebuilt binary for this CPU. Scripts are off, so that nothing is compiled or
 * downloaded besides: onnxruntime-node brings its CPU binaries along, and its script fetches those for CUDA.
 */
export function installPeers() {
  const { dependencies } = JSON.parse(readFileSync(join(here, 'package.json'), 'utf8'))
  if (Object.keys(dependencies).every((name) => existsSync(join(modules, name)))) return
  process.stderr.write(`installing ${Object.keys(dependencies).join(', ')} into bench/peers\n`)
  const platform = { linux: 'linux', darwin: 'mac', win32: 'win' }[process.platform]
  const binary = `@node-llama-cpp/${platform}-${process.arch}${platform === 'mac' && process.arch === 'arm64' ? '-metal' : ''}`
  // --omit=optional leaves out its CUDA and Vulkan builds, hundreds of megabytes that a CPU comparison does not use.
  const how = ['--no-save', '--no-package-lock', '--omit=optional', '--ignore-scripts', '--no-audit', '--no-fund']
  execFileSync('npm', ['install', ...how, `${binary}@${dependencies['node-llama-cpp']}`], {
    cwd: here,
    stdio: ['ignore', 2, 2],
    shell: platform === 'win',
  })
}

/**
 * The file to import node-llama-cpp from. llama.cpp loads the best of the CPU builds that lie in its folder and has no switch for
 * that: with `cpu` (haswell: AVX2 and FMA) it is a copy without the others.
 */
export function peerModule(cpu) {
  const entry = join('node-llama-cpp', 'dist', 'index.js')
  if (!cpu) return join(modules, entry)
  // Inside node_modules, so that the copy finds what it depends on.
  const copy = join(modules, `.only-${cpu}`)
  const copied = join(copy, 'node_modules')
  if (!existsSync(join(copied, entry))) {
    cpSync(join(modules, '@node-llama-cpp'), join(copied, '@node-llama-cpp'), { recursive: true })
    const builds = readdirSync(copied, { recursive: true }).filter((name) => /ggml-cpu-[^/\\]*\.(so|dll|dylib)$/.test(name))
    const others = builds.filter((name) => !name.includes(`ggml-cpu-${cpu}.`))
    if (others.length === builds.length) throw new Error(`node-llama-cpp has no build for ${cpu}`)
    for (const name of others) rmSync(join(copied, name))
    cpSync(join(modules, 'node-llama-cpp'), join(copied, 'node-llama-cpp'), { recursive: true }) // last: it says that all is there
  }
  return join(copied, entry)
}
