// One worker of the soak: models come and go, callers ask for known texts, leave, abort and dispose at random.
import { setTimeout as sleep } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import { InfernodeError, Model } from '../dist/index.js'

const { references, seed, milliseconds } = workerData
const end = performance.now() + milliseconds
let tally = {}
let problems = []
const count = (what) => (tally[what] = (tally[what] ?? 0) + 1)
// Told as it goes, so that a terminated worker's work counts, too.
const report = () => {
  parentPort.postMessage({ tally, problems })
  tally = {}
  problems = []
}

let state = seed >>> 0 || 1
function random(n) {
  state ^= state << 13
  state ^= state >>> 17
  state ^= state << 5
  return (state >>> 0) % n
}

/** Runs `work`; only errors of these codes may end it. */
async function allow(codes, what, work) {
  try {
    await work()
    count(what)
  } catch (error) {
    if (error instanceof InfernodeError && codes.includes(error.code)) count(`${what}: ${error.code}`)
    else problems.push(`${what} gave ${error?.code ?? ''} ${error?.stack ?? error}`)
  }
}

const actions = {
  generate: async (model, { prompt, options, tokens }) => {
    const got = await model.generate(prompt, options).result()
    if (JSON.stringify(got.tokens) !== JSON.stringify(tokens)) problems.push(`seed ${options.seed} gave another text beside others`)
    else count('same')
  },
  leave: async (model, { prompt, options, tokens }) => {
    const leaveAfter = random(tokens.length)
    let n = 0
    for await (const piece of model.generate(prompt, options)) {
      if (piece.token >= 0 && piece.token !== tokens[n]) problems.push(`seed ${options.seed} streamed another token at ${n}`)
      if (n++ === leaveAfter) break
    }
  },
  abort: (model, { prompt, options }) => model.generate(prompt, { ...options, signal: AbortSignal.timeout(1 + random(40)) }).result(),
  score: (model, { prompt }) => model.score(prompt),
  'encode and decode': async (model, { prompt }) => model.decode(await model.encode(prompt)),
  'generate with everything': (model, { prompt, options }) =>
    model.generate(prompt, { ...options, logprobs: 3, echo: true, stop: ['king'] }).result(),
}
const names = Object.keys(actions)

async function useModel() {
  const reference = references[random(references.length)]
  let model
  await allow([], 'load', async () => (model = await Model.load(reference.path, reference.options)))
  if (!model) return
  const until = Math.min(end, performance.now() + 500 + random(4000))
  const disposeInMidWork = random(3) === 0
  const callers = Array.from({ length: 1 + random(8) }, async () => {
    while (performance.now() < until) {
      const name = names[random(names.length)]
      await allow(['ABORTED', ...(disposeInMidWork ? ['DISPOSED'] : [])], name, () =>
        actions[name](model, reference.texts[random(reference.texts.length)]),
      )
      if (disposeInMidWork && performance.now() > until - 200) break
    }
  })
  if (disposeInMidWork) await sleep(Math.max(0, until - performance.now() - 100))
  else await Promise.all(callers)
  if (!disposeInMidWork) {
    for (let i = 0; i < 1000 && model.stats().running > 0; i++) await sleep(2)
    const { running, waiting } = model.stats()
    if (running + waiting > 0) problems.push(`${running} requests run and ${waiting} wait after all ended`)
  }
  await allow([], 'dispose', () => model.dispose())
  await Promise.all(callers)
  report()
}

while (performance.now() < end) await Promise.all([useModel(), useModel()])
report()
