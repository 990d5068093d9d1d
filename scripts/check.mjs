// Everything that can be wrong without a test noticing: types, generated files, and how the packed package looks to its users.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buildTypeScript } from './build-ts.mjs'
import { binOf, capture, fail, packageJson, root } from './toolchain.mjs'

const node = (...args) => capture(process.execPath, args)

/** name → what is wrong, or nothing. */
const checks = {
  async 'TypeScript has no errors'() {
    await buildTypeScript() // the generator runs on dist/
    return { status: 0, output: '' }
  },

  async 'types of tensors hold, and wrong shapes do not compile'() {
    return node(binOf('typescript', 'tsc'), '-p', 'test/tensor/tsconfig.json')
  },

  async 'generated files are what their sources say'() {
    return node('scripts/generate.mjs', '--check')
  },

  async 'CMakeLists.txt lists every native source'() {
    const list = readFileSync(join(root, 'CMakeLists.txt'), 'utf8')
    const sources = ['native', 'test/native', 'bench/native'].flatMap((folder) =>
      existsSync(join(root, folder))
        ? readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((name) => `${folder}/${name.replaceAll('\\', '/')}`)
        : [],
    )
    const missing = sources.filter((name) => name.endsWith('.cc') && !list.includes(name))
    return { status: missing.length, output: missing.join('\n') }
  },

  async 'git holds no installed packages'() {
    if (!existsSync(join(root, '.git'))) return { status: 0, output: '' }
    const { status, output } = await capture('git', ['ls-files', '--', ':(glob)**/node_modules/**'])
    const files = output.split('\n').filter((line) => line !== '')
    return { status: status || files.length, output: `${files.length} files, such as ${files[0]}` }
  },

  async 'package-lock.json fits package.json and names no registry'() {
    const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))
    const ours = lock.packages['']
    const differing = ['version', 'dependencies', 'devDependencies', 'bin'].filter(
      (key) => JSON.stringify(ours[key]) !== JSON.stringify(packageJson[key]),
    )
    const resolved = Object.keys(lock.packages).filter((name) => lock.packages[name].resolved)
    const output = [...differing.map((key) => `"${key}" differs`), ...resolved.map((name) => `${name} has "resolved"`)].join('\n')
    return { status: output === '' ? 0 : 1, output }
  },

  async 'publint and attw find nothing in the tarball'() {
    const folder = mkdtempSync(join(tmpdir(), 'infernode-check-'))
    try {
      // Types, exports and files do not depend on the binary, so no prebuild here; test:package packs the real one.
      const packed = await capture('npm', ['pack', '--ignore-scripts', '--pack-destination', folder])
      if (packed.status !== 0) return packed
      const tarball = join(folder, `infernode-${packageJson.version}.tgz`)
      const publint = await node(binOf('publint'), 'run', tarball, '--strict', '--pack', 'false')
      if (publint.status !== 0) return publint
      // ESM only on purpose: every supported Node can require() an ES module without top-level await.
      return await node(binOf('@arethetypeswrong/cli', 'attw'), tarball, '--ignore-rules', 'cjs-resolves-to-esm')
    } finally {
      rmSync(folder, { recursive: true })
    }
  },
}

let failed = 0
for (const [name, check] of Object.entries(checks)) {
  const { status, output } = await check().catch((cause) => ({ status: 1, output: cause.message }))
  console.log(`${status === 0 ? 'ok    ' : 'FAILED'}  ${name}`)
  if (status !== 0) console.log(output.trim().replace(/^/gm, '        '))
  failed += status === 0 ? 0 : 1
}
if (failed > 0) fail(`${failed} of ${Object.keys(checks).length} checks failed`)
