/** Every example runs as it stands. They import 'infernode' by name, which also tests `exports`. Needs `npm run build`. */
import { execFile } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'

const root = join(import.meta.dirname, '..')
const run = promisify(execFile)

describe('examples', () => {
  for (const file of readdirSync(join(root, 'examples')).filter((name) => /\.(mjs|cjs)$/.test(name))) {
    it(`${file} runs and prints something`, async () => {
      const { stdout, stderr } = await run(process.execPath, [join('examples', file)], { cwd: root })
      expect(stderr).toBe('')
      expect(stdout.trim()).not.toBe('')
    })
  }
})

describe('require', () => {
  it('works from CommonJS', async () => {
    const script =
      "const { Model } = require('infernode'); Model.load().then(async m => { console.log(m.info.name); await m.dispose() })"
    const { stdout } = await run(process.execPath, ['-e', script], { cwd: root })
    expect(stdout.trim()).not.toBe('')
  })
})
