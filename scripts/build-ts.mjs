// TypeScript → dist/, without what earlier builds left there.
import { chmodSync, existsSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { binOf, capture, fail, packageJson, root } from './toolchain.mjs'

export async function buildTypeScript() {
  const { status, output } = await capture(process.execPath, [binOf('typescript', 'tsc'), '-p', 'tsconfig.json'])
  if (status !== 0) throw new Error(`TypeScript has errors:\n${output}`)

  // A file whose source is gone would still be published and imported.
  const dist = join(root, 'dist')
  for (const entry of readdirSync(dist, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    const source = path.slice(dist.length + 1).replace(/(\.d\.ts|\.js)(\.map)?$/, '.ts')
    if (!existsSync(join(root, 'src', source))) rmSync(path)
  }
  for (const bin of Object.values(packageJson.bin)) if (existsSync(join(root, bin))) chmodSync(join(root, bin), 0o755)
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) await buildTypeScript().catch(fail)
