// The kernels' C++ tests for 64-bit Arm, cross-compiled and run under QEMU's user emulation; on any Linux machine. What follows goes
// to the test program. Skipped, and said so, where the compiler or the emulator is missing.
import { spawnSync } from 'node:child_process'
import { mkdirSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { buildJobs, capture, cleanEnv, cmakeTree, fail, root } from './toolchain.mjs'

const compiler = 'aarch64-linux-gnu-g++'
const emulator = ['qemu-aarch64-static', 'qemu-aarch64'].find((name) => spawnSync(name, ['--version']).status === 0)
// Emulated, these take minutes: all 2³² floats, and contexts of thousands of positions.
const long = ['exp is within*', 'a long context*']

try {
  if (!emulator || spawnSync(compiler, ['--version']).status !== 0) {
    console.warn('SKIPPED: kernels for Arm (Debian, Ubuntu: apt-get install g++-aarch64-linux-gnu qemu-user-static doctest-dev)')
    process.exit()
  }
  const tree = cmakeTree('aarch64')
  // The cross compiler does not look where headers of this machine lie.
  const headers = join(tree, 'headers')
  mkdirSync(headers, { recursive: true })
  rmSync(join(headers, 'doctest'), { force: true })
  symlinkSync('/usr/include/doctest', join(headers, 'doctest'))
  for (const step of [
    ['-S', '.', '-B', tree, '-DCMAKE_BUILD_TYPE=Release', '-DCMAKE_SYSTEM_NAME=Linux', '-DCMAKE_SYSTEM_PROCESSOR=aarch64',
      `-DCMAKE_CXX_COMPILER=${compiler}`, `-DCMAKE_CXX_FLAGS=-isystem ${headers}`],
    ['--build', tree, '--target', 'native_tests', '--parallel', String(buildJobs)],
  ]) {
    const { status, output } = await capture('cmake', step)
    if (status !== 0) throw new Error(`cmake ${step.join(' ')}:\n${output.slice(-8000)}`)
  }
  const env = cleanEnv({ INFERNODE_GOLDENS: process.env.INFERNODE_GOLDENS ?? join(root, 'test', 'fixtures', 'goldens') })
  const filter = ['-sf=*kernels_test*,*matmul_test*,*moe_test*,*encode_test*,*attention_test*,*cpu_features_test*', `-tce=${long.join(',')}`]
  const run = [emulator, '-cpu', 'max', '-L', '/usr/aarch64-linux-gnu', join(tree, 'native_tests'), ...filter, ...process.argv.slice(2)]
  const { status, signal } = spawnSync(run[0], run.slice(1), { cwd: root, env, stdio: 'inherit' })
  if (status !== 0) throw new Error(`the tests for Arm ended with ${signal ?? `status ${status}`}`)
} catch (cause) {
  fail(cause)
}
