/** What both sides of bench/peers/kernels.mjs have in common: a kernel is prepared, then timed as often as the parent asks. */

/** kernels: name → what prepares it (given the number of threads) and gives the function to time. `about` tells of this side. */
export function serveKernels(kernels, { read, dispose }, about) {
  let run
  const answers = {
    about,
    async prepare({ name, threads }) {
      run = await kernels[name](threads)
      const result = await run() // warm: weights are laid out, memory is there
      const values = await read(result)
      dispose(result)
      // Every so many values: enough to tell whether both sides compute the same.
      return { sample: Array.from({ length: 997 }, (_, i) => Number(values[Math.floor((i * values.length) / 997)])) }
    },
    async time({ repeat }) {
      const milliseconds = []
      for (let i = 0; i < repeat; i++) {
        const begin = performance.now()
        dispose(await run())
        milliseconds.push(performance.now() - begin)
      }
      return { milliseconds }
    },
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
