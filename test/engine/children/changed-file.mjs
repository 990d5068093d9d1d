// What becomes of a model whose file is changed under it, and of its running text. Arguments: how, mmap ("true" or "false").
import { closeSync, copyFileSync, mkdtempSync, openSync, readFileSync, renameSync, rmSync, truncateSync, unlinkSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { embeddedModel, Model } from '../../../dist/model.js'

const [, , how, mmap] = process.argv
const folder = mkdtempSync(join(tmpdir(), 'infernode-changed-'))
process.on('exit', () => rmSync(folder, { recursive: true }))
const path = join(folder, 'model.gguf')
copyFileSync(embeddedModel, path)

const change = {
  truncate: () => truncateSync(path, 4096),
  overwrite() {
    // In place, as `cp` onto it does.
    const file = openSync(path, 'r+')
    writeSync(file, Buffer.alloc(1 << 20), 0, 1 << 20, 1 << 20)
    closeSync(file)
  },
  replace() {
    copyFileSync(embeddedModel, `${path}.new`)
    truncateSync(`${path}.new`, 1 << 20)
    renameSync(`${path}.new`, path)
  },
  remove: () => unlinkSync(path),
}[how]

const outcome = (promise) => promise.then(({ tokens }) => tokens, (error) => error.code ?? String(error))
const model = await Model.load(path, { mmap: mmap === 'true' })
const story = () => model.generate('Once upon a time', { seed: 3, maxTokens: 60 })
const expected = (await story().result()).tokens

let inMidText
if (mmap === 'true') change() // between steps: in the middle of one, the system may end the process
else {
  const running = story()
  let n = 0
  for await (const _ of running) if (++n === 5) change()
  inMidText = await outcome(running.result())
}
const after = await outcome(story().result())
const again = await Model.load(path, { mmap: mmap === 'true' }).then(
  async (other) => {
    await other.dispose()
    return 'loads'
  },
  (error) => error.code ?? String(error),
)
await model.dispose()
const same = (tokens) => (Array.isArray(tokens) ? JSON.stringify(tokens) === JSON.stringify(expected) : tokens)
process.stdout.write(
  JSON.stringify({ inMidText: same(inMidText), after: same(after), again, mapped: readFileSync('/proc/self/maps', 'utf8').includes(path) }),
)
