// RSS of this process: empty, or with a checkpoint loaded that generated some tokens.
import { Model } from '../../../dist/index.js'

const [, , path] = process.argv
let report = { rss: process.memoryUsage().rss }
if (path) {
  const begin = performance.now()
  const model = await Model.load(path)
  const loadMs = performance.now() - begin
  const loadedRss = process.memoryUsage().rss
  await model.generate('Once upon a time', { maxTokens: 8 }).result()
  report = { loadMs, loadedRss, rss: process.memoryUsage().rss, bytes: model.info.bytes, stats: model.stats() }
}
process.stdout.write(JSON.stringify(report))
process.exit(0)
