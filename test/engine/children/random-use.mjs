/**
 * Uses the library at random from several workers for some time: right and wrong options, any order of calls, aborted, left, disposed
 * and terminated at any moment. Every call must end, with a value or an InfernodeError.
 * Arguments: seconds, seed, number of workers. Ends with 0 and a tally as JSON, or with 1 and the counterexample.
 */
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import fc from 'fast-check'
import * as infernode from '../../../dist/index.js'

const { InfernodeError, Model } = infernode

if (isMainThread) await supervise(...process.argv.slice(2).map(Number))
else await use(workerData)

/** Keeps `n` workers at it; one is terminated now and then, in the middle of whatever it does. */
async function supervise(seconds, seed, n) {
  const random = randomNumbers(seed)
  const end = performance.now() + seconds * 1000
  const tally = {}
  let started = 0
  let terminated = 0
  const lane = async () => {
    while (performance.now() < end) {
      const left = end - performance.now()
      const shortLived = random() < 0.4
      const worker = new Worker(new URL(import.meta.url), { workerData: { seed: seed + 1000 * started++, milliseconds: left } })
      const exited = once(worker, 'exit')
      worker.on('error', (error) => fail(`a worker ended by ${error.stack}`))
      worker.on('message', (message) => {
        if (message.failure) fail(message.failure)
        for (const [what, times] of Object.entries(message.tally)) tally[what] = (tally[what] ?? 0) + times
      })
      if (shortLived) {
        await Promise.race([sleep(50 + random() * Math.min(3000, left)), exited])
        terminated++
        await worker.terminate()
      }
      await exited
    }
  }
  await Promise.all(Array.from({ length: n }, lane))
  process.stdout.write(JSON.stringify({ tally, started, terminated }))
}

function fail(text) {
  process.stderr.write(`${text}\n`)
  process.exit(1)
}

function randomNumbers(seed) {
  let state = seed >>> 0 || 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 32
  }
}

/** Properties until the time is over. */
async function use({ seed, milliseconds }) {
  const tally = {}
  const property = fc.asyncProperty(fc.array(commands(), { minLength: 1, maxLength: 12 }), (list) => run(list, tally))
  const end = performance.now() + milliseconds
  for (let round = 0; performance.now() < end; round++) {
    const left = end - performance.now()
    const result = await fc.check(property, { seed: seed + round, numRuns: 20, endOnFailure: true, interruptAfterTimeLimit: left })
    if (result.failed && !result.interrupted) {
      parentPort.postMessage({ failure: fc.defaultReportMessage(result) })
      return
    }
  }
  parentPort.postMessage({ tally })
}

/** Runs commands on some models; those that do not wait run beside each other. Then everything is awaited. */
async function run(list, tally) {
  const state = { models: [], tensors: [], running: [] }
  const settle = async (what, promise) => {
    let timer
    const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error(`${what} does not end`)), 120_000)))
    try {
      await Promise.race([promise, late])
      tally[what] = (tally[what] ?? 0) + 1
    } catch (error) {
      if (!(error instanceof InfernodeError)) throw new Error(`${what} gave ${error?.stack ?? error}`)
      if (error.code === 'INTERNAL' || error.code === 'PLAN_INVALID') throw error
      tally[`${what}: ${error.code}`] = (tally[`${what}: ${error.code}`] ?? 0) + 1
    } finally {
      clearTimeout(timer)
    }
  }
  const failures = []
  for (const { what, wait, act } of list) {
    const done = settle(what, (async () => act(state))()).catch((error) => failures.push(error))
    state.running.push(done)
    if (wait) await done
  }
  await Promise.all(state.running)
  for (const model of state.models) await settle('dispose at the end', model.dispose())
  for (const tensor of state.tensors) tensor.dispose()
  if (failures.length > 0) throw failures[0]
}

async function newModel(state, options) {
  const model = await Model.load(undefined, options)
  state.models.push(model)
  return model
}

/** Names of the methods of a class, private ones aside. */
function methodsOf(prototype) {
  const described = Object.entries(Object.getOwnPropertyDescriptors(prototype))
  return described.filter(([name, { value }]) => typeof value === 'function' && name !== 'constructor').map(([name]) => name)
}

function commands() {
  const weird = fc.oneof(fc.anything(), fc.constantFrom(NaN, Infinity, -Infinity, -0, 2 ** 31, 2 ** 53, null, '', [], {}, Symbol('x'), 1n))
  // Mostly what an option may be, sometimes anything.
  const mostly = (arbitrary) => fc.oneof({ arbitrary, weight: 100 }, { arbitrary: weird, weight: 1 })
  const record = (fields) =>
    fc.record(Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, mostly(field)])), { requiredKeys: [] })
  const probability = fc.double({ min: 1e-6, max: 1, noNaN: true })
  const token = fc.oneof({ arbitrary: fc.integer({ min: 0, max: 1000 }), weight: 500 }, fc.integer({ min: -1, max: 2 ** 31 }))
  const text = fc.oneof(fc.string({ unit: 'binary', maxLength: 300 }), fc.string({ maxLength: 40 }), fc.constant('Once upon a time'), fc.constant(''))
  const prompt = mostly(fc.oneof(text, fc.array(token, { maxLength: 300 }), fc.array(token, { maxLength: 20 }).map((ids) => Int32Array.from(ids))))
  const loadOptions = record({
    threads: fc.integer({ min: 1, max: 4 }),
    kvType: fc.constantFrom('f32', 'f16', 'bf16', 'q8_0'),
    cacheTokens: fc.oneof(fc.integer({ min: 1, max: 4096 }), fc.constantFrom(2 ** 31 - 1)),
    contextLength: fc.oneof({ arbitrary: fc.integer({ min: 1, max: 250 }), weight: 4 }, fc.integer({ min: 1, max: 2048 })),
    maxQueue: fc.integer({ min: 1, max: 8 }),
    maxMemory: fc.constantFrom(1, 2 ** 24, 2 ** 40, 2 ** 40, 2 ** 40, 2 ** 40),
    isa: fc.oneof({ arbitrary: fc.constantFrom(undefined, 'scalar', 'avx2'), weight: 9 }, fc.constant('nonsense')),
    mmap: fc.boolean(),
    onProgress: fc.constant(() => {}),
  })
  const generateOptions = record({
    maxTokens: fc.integer({ min: 0, max: 40 }),
    temperature: fc.double({ min: 0, max: 3, noNaN: true }),
    topK: fc.integer({ min: 0, max: 4000 }),
    topP: probability,
    minP: probability,
    typicalP: probability,
    repetitionPenalty: fc.double({ min: 0.01, max: 5, noNaN: true }),
    presencePenalty: fc.double({ min: -5, max: 5, noNaN: true }),
    frequencyPenalty: fc.double({ min: -5, max: 5, noNaN: true }),
    penaltyWindow: fc.integer({ min: 0, max: 100 }),
    logitBias: fc.dictionary(fc.integer({ min: 0, max: 1000 }).map(String), fc.double({ noNaN: true }), { maxKeys: 4 }),
    seed: fc.nat(),
    stop: fc.oneof(fc.string({ minLength: 1, maxLength: 5 }), fc.array(fc.string({ minLength: 1, maxLength: 3 }), { maxLength: 3 })),
    stopTokens: fc.array(token, { maxLength: 3 }),
    logprobs: fc.integer({ min: 0, max: 20 }),
    echo: fc.boolean(),
    addSpecial: fc.boolean(),
    parseSpecial: fc.boolean(),
  })
  const command = (what, fields, act) =>
    fc.record({ wait: fc.boolean(), at: fc.nat(), ...fields }).map(({ wait, at, ...given }) => ({
      what,
      wait,
      act: (state) => act({ ...given, at }, state, state.models[at % (state.models.length || 1)]),
      [fc.toStringMethod]: () => `${what}(${fc.stringify(given)})${wait ? '' : ' unawaited'} on ${at}`,
    }))
  // Without a model, one comes first.
  const onModel = (what, fields, act) =>
    command(what, fields, async (given, state, model) => act(given, model ?? (await newModel(state))))
  const load = command('load', { options: loadOptions }, async ({ options }, state) => {
    if (state.models.length < 3) await newModel(state, options)
  })
  // Any method of a tensor, with tensors, numbers, types, shapes and options for arguments, in any order.
  const dtype = fc.constantFrom('f32', 'f32', 'f16', 'bf16', 'i32', 'i8', 'u8', 'bool', 'q8_0', 'q4_0', 'q4_k')
  const shape = fc.oneof(fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 4 }), fc.constantFrom([64], [2, 64], [64, 64], [1, 3, 2, 64], [4, 256]))
  const tensor = fc.record({ tensor: fc.nat(7) })
  const options = record({ transposeB: fc.boolean(), keepDims: fc.boolean(), causal: fc.boolean(), window: fc.nat(5), eps: fc.double(), dtype })
  const argument = mostly(fc.oneof({ arbitrary: tensor, weight: 3 }, fc.integer({ min: -3, max: 40 }), fc.double(), dtype, shape, options))
  const operations = infernode.Tensor ? methodsOf(infernode.Tensor.prototype) : []
  const makers = infernode.Tensor ? ['zeros', 'full', 'random', 'randomNormal', 'arange', 'copyOf', 'adopt', 'from'] : []
  const pick = (state, value) => (Object.hasOwn(Object(value), 'tensor') ? state.tensors[value.tensor % (state.tensors.length || 1)] : value)
  const keep = (state, value) => {
    if (!(value instanceof infernode.Tensor)) return
    if (state.tensors.length > 8) state.tensors.shift().dispose()
    state.tensors.push(value)
  }
  const make = command('make a tensor', { by: fc.constantFrom(...makers, 'zeros'), shape: mostly(shape), rest: fc.array(argument, { maxLength: 2 }) }, (g, state) => {
    const first = g.by === 'copyOf' || g.by === 'adopt' ? Float32Array.from({ length: g.at % 300 }, (_, i) => Math.sin(i)) : g.by === 'arange' ? g.at % 300 : g.shape
    keep(state, infernode.Tensor[g.by](first, ...g.rest.map((value) => pick(state, value))))
  })
  const operate = command('operate', { name: fc.constantFrom(...operations, 'toString'), given: fc.array(argument, { maxLength: 3 }) }, async (g, state) => {
    if (state.tensors.length === 0) keep(state, infernode.Tensor.random([4, 64]))
    const self = state.tensors[g.at % state.tensors.length]
    keep(state, await self[g.name](...g.given.map((value) => pick(state, value))))
  })
  return fc.oneof(
    ...(infernode.Tensor ? [{ arbitrary: make, weight: 4 }, { arbitrary: operate, weight: 10 }] : []),
    { arbitrary: load, weight: 3 },
    { arbitrary: onModel('generate', { prompt, options: generateOptions }, (g, model) => model.generate(g.prompt, g.options).result()), weight: 6 },
    onModel('generate and leave', { prompt, options: generateOptions, after: fc.nat(6) }, async (g, model) => {
      let n = 0
      for await (const _ of model.generate(g.prompt, g.options)) if (n++ === g.after) break
    }),
    onModel('generate and abort', { prompt, options: generateOptions, after: fc.nat(30) }, (g, model) =>
      model.generate(g.prompt, { ...(typeof g.options === 'object' ? g.options : {}), signal: AbortSignal.timeout(g.after) }).result(),
    ),
    onModel('chat', { messages: mostly(fc.array(fc.record({ role: fc.constantFrom('user', 'assistant', 'system'), content: text }))) }, (g, model) =>
      model.chat(g.messages, { maxTokens: 5, chatTemplate: '{% for m in messages %}{{ m.content }}{% endfor %}' }).result(),
    ),
    onModel('score', { prompt, options: record({ addSpecial: fc.boolean() }) }, (g, model) => model.score(g.prompt, g.options)),
    onModel('encode', { text: mostly(text), options: record({ addSpecial: fc.boolean(), parseSpecial: fc.boolean() }) }, (g, model) =>
      model.encode(g.text, g.options),
    ),
    onModel('tokenize', { text: mostly(text) }, (g, model) => model.tokenize(g.text)),
    onModel('decode', { ids: mostly(fc.array(token)), options: record({ skipSpecial: fc.boolean() }) }, (g, model) => model.decode(g.ids, g.options)),
    onModel('profile', { prompt }, (g, model) => model.profile(() => model.generate(g.prompt, { maxTokens: 3 }).result(), { maxEvents: 1000 })),
    onModel('stats', {}, (_, model) => model.stats()),
    onModel('dispose', {}, (_, model) => model.dispose()),
    command('wait', { ms: fc.nat(20) }, ({ ms }) => sleep(ms)),
    command('load what is none', { path: mostly(fc.constantFrom('/none', '.', '/dev/null', 'package.json')), options: loadOptions }, (g) =>
      Model.load(g.path, g.options).then((model) => model.dispose()),
    ),
    command('inspect', { path: mostly(fc.constantFrom(undefined, '/none')) }, (g) => infernode.inspect(g.path)),
    command('runtime', { options: record({ threads: fc.integer({ min: 1, max: 8 }) }) }, (g) => infernode.runtime(g.options)),
  )
}
