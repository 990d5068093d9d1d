/** What both sides have in common: messages in, timings out, and the clock read at the same places. */
import { memoryUsage } from 'node:process'

/**
 * `load` yields { about, generate(ids, maxTokens, sequence), more }: generate is an async generator of token ids, `more` functions
 * that only one side has.
 */
export function serve(load) {
  let side
  const answers = {
    async load(options) {
      side = await load(options)
      return { about: side.about }
    },
    measure: (message) => measure(side, message),
    together: (message) => together(side, message),
    // From nothing to the first token, as a program that was just started would wait for it.
    async start({ options, ids }) {
      const started = performance.now()
      side = await load(options)
      for await (const _ of side.generate(ids, 1, 0)) break
      return { milliseconds: performance.now() - started, about: side.about }
    },
    memory: () => ({ rss: memoryUsage.rss() }),
    more: ({ name, ...rest }) => side.more[name](rest),
  }
  process.on('message', async ({ ask, ...message }) => {
    try {
      process.send(await answers[ask](message))
    } catch (error) {
      process.send({ error: error.stack })
    }
  })
  process.on('disconnect', () => process.exit())
}

/** promptMs: from the call to the first token. generationMs: from the first token to the last of `tokens` more. */
async function measure(side, { ids, tokens }) {
  const started = performance.now()
  let first
  let last
  let count = 0
  for await (const _ of side.generate(ids, tokens + 1, 0)) {
    last = performance.now()
    first ??= last
    if (++count > tokens) break
  }
  return { promptMs: first - started, generationMs: last - first, generated: count - 1 }
}

/** All prompts at once, each in a sequence of its own; prompts are part of the time. */
async function together(side, { prompts, tokens }) {
  const started = performance.now()
  const counts = await Promise.all(
    prompts.map(async (ids, sequence) => {
      let count = 0
      for await (const _ of side.generate(ids, tokens, sequence)) if (++count === tokens) break
      return count
    }),
  )
  return { milliseconds: performance.now() - started, generated: counts.reduce((a, b) => a + b, 0) }
}
