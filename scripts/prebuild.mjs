// Before `npm pack`: dist/ afresh, and prebuilds/ with the binary of this platform, by prebuildify.
import { spawnSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { buildNative } from './build-native.mjs'
import { buildTypeScript } from './build-ts.mjs'
import { binOf, cleanEnv, fail, root } from './toolchain.mjs'

/**
 * A folder that node-gyp takes for Node's headers. It wants them before it reads binding.gyp, and would download them; but CMake
 * compiles, with the headers of node-api-headers.
 */
function headersForNodeGyp() {
  const folder = join(root, 'build-cmake', 'node-gyp')
  const include = join(folder, 'include', 'node')
  mkdirSync(include, { recursive: true })
  writeFileSync(join(include, 'common.gypi'), '{}\n')
  writeFileSync(join(include, 'config.gypi'), JSON.stringify({ target_defaults: {}, variables: {} }))
  const [major, minor, patch] = process.versions.node.split('.')
  const lines = [`#define NODE_MAJOR_VERSION ${major}`, `#define NODE_MINOR_VERSION ${minor}`, `#define NODE_PATCH_VERSION ${patch}`]
  writeFileSync(join(include, 'node_version.h'), `${lines.join('\n')}\n`)
  return folder
}

try {
  await buildTypeScript()
  rmSync(join(root, 'prebuilds'), { recursive: true, force: true })
  const env = cleanEnv({ npm_config_nodedir: headersForNodeGyp() })
  env.PATH = [join(root, 'node_modules', '.bin'), env.PATH].join(delimiter)
  // One binary for every Node: it uses Node-API alone. Its log goes to stderr, as stdout may be what `npm pack --json` prints.
  const args = [binOf('prebuildify'), '--napi', '--strip', '--target', process.versions.node]
  const { status } = spawnSync(process.execPath, args, { cwd: root, env, stdio: ['ignore', 2, 2] })
  if (status !== 0) throw new Error('prebuildify failed')
  await buildNative() // prebuildify has moved the local build away
} catch (cause) {
  fail(cause)
}
