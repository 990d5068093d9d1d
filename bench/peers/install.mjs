/** Gets node-llama-cpp where it is not installed yet. */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))

/** node-llama-cpp and its prebuilt binary for this CPU. Scripts are off, so that nothing is compiled or downloaded besides. */
export function installPeer() {
  if (existsSync(join(here, 'node_modules', 'node-llama-cpp'))) return
  process.stderr.write('installing node-llama-cpp into bench/peers\n')
  const version = JSON.parse(readFileSync(join(here, 'package.json'), 'utf8')).dependencies['node-llama-cpp']
  const platform = { linux: 'linux', darwin: 'mac', win32: 'win' }[process.platform]
  const binary = `@node-llama-cpp/${platform}-${process.arch}${platform === 'mac' && process.arch === 'arm64' ? '-metal' : ''}`
  // --omit=optional leaves out its CUDA and Vulkan builds, hundreds of megabytes that a CPU comparison does not use.
  const how = ['--no-save', '--no-package-lock', '--omit=optional', '--ignore-scripts', '--no-audit', '--no-fund']
  execFileSync('npm', ['install', ...how, `${binary}@${version}`], {
    cwd: here,
    stdio: ['ignore', 2, 2],
    shell: platform === 'win',
  })
}
