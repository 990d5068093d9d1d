/** What both sides have in common: messages in, timings out, and the clock read at the same places. */

/** `load` yields { about, generate(ids, maxTokens) }, an async generator of token ids. */
export function serve(load) {
  let side
  process.on('message', async (message) => {
    try {
      if (message.load) {
        side = await load(message.load)
        process.send({ about: side.about })
      } else process.send(await measure(side, message))
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
  for await (const _ of side.generate(ids, tokens + 1)) {
    last = performance.now()
    first ??= last
    if (++count > tokens) break
  }
  return { promptMs: first - started, generationMs: last - first, generated: count - 1 }
}
