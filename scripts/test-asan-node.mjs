// The addon under the address and undefined-behaviour sanitizers inside Node: `npm run test:asan-node -- [seconds]` uses it at random from
// several workers (test/engine/children/random-use.mjs), default 30 s. Node itself is not instrumented, so leaks are not looked for.
import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { cleanEnv, cmakeBuild, fail, root } from './toolchain.mjs'

const seconds = Number(process.argv[2] ?? 30)

try {
  if (process.platform !== 'linux') throw new Error('test:asan-node needs Linux.')
  const library = spawnSync(process.env.CXX ?? 'c++', ['-print-file-name=libasan.so'], { encoding: 'utf8' }).stdout.trim()
  if (!existsSync(library)) throw new Error(`test:asan-node needs libasan.so, which ${process.env.CXX ?? 'c++'} does not have.`)
  // With test:asan's objects.
  const tree = await cmakeBuild('address,undefined', ['infernode'])
  const package_ = join(tree, 'package', 'build', 'Release')
  mkdirSync(package_, { recursive: true })
  copyFileSync(join(tree, 'Release', 'infernode.node'), join(package_, 'infernode.node'))
  const { status, signal } = spawnSync(
    process.execPath,
    [join(root, 'test/engine/children/random-use.mjs'), String(seconds), String(Date.now() % 1e6), '2'],
    {
      cwd: root,
      stdio: 'inherit',
      env: cleanEnv({
        LD_PRELOAD: library,
        INFERNODE_PREBUILD: join(tree, 'package'), // where node-gyp-build looks first
        ASAN_OPTIONS: 'detect_leaks=0:allocator_may_return_null=1:handle_segv=1:strict_string_checks=1',
        UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
      }),
    },
  )
  if (status !== 0) throw new Error(`random use under the sanitizers ended with ${signal ?? `status ${status}`}`)
  console.log('\n1 passed, 0 failed')
} catch (cause) {
  fail(cause)
}
