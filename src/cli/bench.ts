/** `infernode bench`: how fast a model runs here, and how much of this machine that is. Kernels and peers have subcommands. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Command } from 'commander'
import { inspect, measureMachine, type MachinePeaks, type Model, type Profile } from '../index.js'
import { packageRoot } from '../native.js'
import { addBenchKernels } from './bench-kernels.js'
import { loadModel, modelLine, type ModelFlags, withModelOptions } from './load.js'
import { median } from './statistics.js'
import { interruption, jsonOption, number, progress, remark, table, UsageError, write, writeJson } from './terminal.js'
import { readProbe, workOfPlan, type Work } from './work.js'

type Flags = ModelFlags & { promptTokens: number; tokens: number; repeat: number; profile?: string; json?: boolean }

const help = `
Each of the repetitions computes a prompt of random tokens and generates after a short one; medians are printed. The shares say
how much of this machine's limits that is, measured in the same run: generation reads every weight once per token, so its limit is
the bandwidth of memory (files that fit into a cache can exceed it); a prompt computes, so its limit is the rate of int8
multiply-adds.

--profile then runs a prompt and 32 tokens once more and records what each thread does, op by op: a table of where the time goes, and
a trace for ui.perfetto.dev. "µs lost" is what waiting for each other and for the next op cost a call. Recording costs a few percent, so the speeds are measured without it.

Examples:
  $ infernode bench model
  $ infernode bench model --profile trace.json
  $ infernode bench model --model model.gguf --threads 4 --prompt-tokens 512 --tokens 128 --json`

const groupHelp = `
Without a subcommand, bench measures a model; \`infernode help bench model\` tells the options.

Examples:
  $ infernode bench                                          the model in the package
  $ infernode bench --model model.gguf --profile trace.json  any other, and where its time goes
  $ infernode bench kernels --svg roofline.svg               every op beside this machine's limits
  $ infernode bench peers -- --list                          beside node-llama-cpp, from a checkout of the sources`

export function addBench(program: Command): void {
  const group = program
    .command('bench')
    .summary('measure the speed of prompts, of generation, of kernels')
    .description("Measures speed beside this machine's own limits.")
    .addHelpText('after', groupHelp)
  withModelOptions(group.command('model', { isDefault: true }))
    .summary('measure the speed of prompts and of generation')
    .description("Measures tokens per second for prompts and for generation, beside this machine's own limits.")
    .option('-p, --prompt-tokens <n>', 'length of the prompt', number, 512)
    .option('-n, --tokens <n>', 'tokens to generate', number, 128)
    .option('-r, --repeat <n>', 'repetitions', number, 5)
    .option('--profile <file>', 'record what each thread does in some steps, as a trace for Perfetto')
    .addOption(jsonOption())
    .addHelpText('after', help)
    .action(bench)
  addBenchKernels(group)
  group
    .command('peers')
    .summary('compare with node-llama-cpp, from a checkout of the sources')
    .description('Runs bench/peers/run.mjs of a checkout, which installs node-llama-cpp beside itself. Arguments behind -- are its own.')
    .argument('[arguments...]')
    .action(benchPeers)
}

/** What infernode is compared with has hundreds of megabytes, so it is no part of the package. */
async function benchPeers(args: string[]): Promise<void> {
  const script = join(packageRoot, 'bench', 'peers', 'run.mjs')
  if (!existsSync(script)) throw new UsageError('The comparison is not in the package: run `npm run bench:peers` in a checkout of the sources.')
  const [code] = (await once(spawn(process.execPath, [script, ...args], { stdio: 'inherit' }), 'exit')) as [number | null]
  if (code !== 0) throw new Error(`bench/peers/run.mjs ended with ${code}`)
}

async function bench(flags: Flags): Promise<void> {
  for (const [name, value] of Object.entries({
    '--prompt-tokens': flags.promptTokens,
    '--tokens': flags.tokens,
    '--repeat': flags.repeat,
  })) {
    if (!Number.isInteger(value) || value < 1) throw new UsageError(`${name} must be a whole number of at least 1.`)
  }
  const { plan, tensors, files } = await inspect(flags.model)
  const context = Math.min(flags.context ?? plan.contextLength, plan.contextLength)
  // Small contexts get small benchmarks, and the output says so.
  const promptTokens = Math.min(flags.promptTokens, context - 1)
  const nTokens = Math.min(flags.tokens, context - shortPrompt - 1)
  if (promptTokens < 1 || nTokens < 2) throw new UsageError('The context is too short for a benchmark.')
  const model = await loadModel({ cacheTokens: Math.max(promptTokens + 1, shortPrompt + nTokens + 1), ...flags })
  try {
    const { isa, threads, promptThreads } = model.info
    progress('measuring this machine')
    const peaks = await measureMachine({ isa, threads: Math.max(threads, promptThreads), ...readProbe(files) })
    const prompt: number[] = []
    const generation: number[] = []
    for (let turn = 0; turn <= flags.repeat; turn++) {
      progress(turn === 0 ? 'warming up' : `turn ${turn} of ${flags.repeat}`)
      const speeds = [await promptSpeed(model, promptTokens, turn), await generationSpeed(model, nTokens, turn)] as const
      if (turn === 0) continue // it paged the file in
      prompt.push(speeds[0])
      generation.push(speeds[1])
    }
    const profile = flags.profile === undefined ? undefined : await profiled(model, promptTokens, Math.min(nTokens, 32), flags.profile)
    progress('')
    const sizes = new Map(tensors.map(({ name, bytes }) => [name, bytes]))
    const work = workOfPlan(plan, (name) => sizes.get(name) ?? 0)
    await report(model, { prompt, generation, promptTokens, nTokens, profile }, peaks, work, flags.json ?? false)
  } finally {
    await model.dispose()
  }
}

const shortPrompt = 16

async function promptSpeed(model: Model, tokens: number, turn: number): Promise<number> {
  const story = model.generate(randomIds(model, tokens, turn), { maxTokens: 1, temperature: 0, signal: interruption.signal })
  return (await story.result()).timings.promptTokensPerSecond
}

/** End-of-text tokens are forbidden, so that every repetition generates the same number of tokens. */
async function generationSpeed(model: Model, tokens: number, turn: number): Promise<number> {
  const logitBias = Object.fromEntries(model.info.eosTokenIds.map((id) => [id, -Infinity]))
  const options = { maxTokens: tokens, temperature: 0, logitBias, signal: interruption.signal }
  const story = model.generate(randomIds(model, shortPrompt, 1000 + turn), options)
  return (await story.result()).timings.tokensPerSecond
}

/** Other ids in every turn, so that no cache of prefixes helps. */
function randomIds({ info }: Model, count: number, turn: number): number[] {
  let x = 12345 + 7919 * turn
  return Array.from({ length: count }, () => (x = (Math.imul(x, 1103515245) + 12345) >>> 1) % info.vocabSize)
}

interface Speeds {
  prompt: number[]
  generation: number[]
  promptTokens: number
  nTokens: number
  profile: Profiled | undefined
}

async function report(
  model: Model,
  { prompt, generation, promptTokens, nTokens, profile }: Speeds,
  peaks: MachinePeaks,
  work: Work,
  json: boolean,
): Promise<void> {
  const promptSpeed = median(prompt)
  const generationSpeed = median(generation)
  const shareOfInt8 = (promptSpeed * work.macsPerPromptToken) / peaks.int8MacsPerSecond
  const shareOfBandwidth = (generationSpeed * work.bytesPerToken) / peaks.readBytesPerSecond
  if (json) {
    return writeJson({
      model: model.info,
      prompt: { tokens: promptTokens, tokensPerSecond: promptSpeed, all: prompt, shareOfInt8Peak: shareOfInt8 },
      generation: {
        tokens: nTokens,
        tokensPerSecond: generationSpeed,
        all: generation,
        shareOfReadBandwidth: shareOfBandwidth,
      },
      machine: peaks,
      ...(profile && { profile: { prompt: profile.prompt.ops, generation: profile.generation.ops } }),
    })
  }
  const percent = (share: number): string => `${(100 * share).toFixed(0)} %`
  const spread = (values: number[]): string => `${Math.min(...values).toFixed(1)}–${Math.max(...values).toFixed(1)}`
  const rows = [
    ['', 'tokens/s', 'spread', 'share of this machine'],
    [
      `prompt, ${promptTokens} tokens`,
      promptSpeed.toFixed(1),
      spread(prompt),
      `${percent(shareOfInt8)} of ${(peaks.int8MacsPerSecond / 1e9).toFixed(0)} G int8 multiply-adds/s`,
    ],
    [
      `generation, ${nTokens} tokens`,
      generationSpeed.toFixed(1),
      spread(generation),
      `${percent(shareOfBandwidth)} of ${(peaks.readBytesPerSecond / 1e9).toFixed(1)} GB/s read`,
    ],
  ]
  await write(`${table(rows, [1, 2])}\n`)
  if (profile) await write(`\n${profileTable('prompt', profile.prompt)}\n\n${profileTable('generation', profile.generation)}\n`)
  remark(modelLine(model))
  if (profile) remark(`wrote ${profile.file}; open it in https://ui.perfetto.dev`)
}

interface Profiled {
  readonly prompt: Profile
  readonly generation: Profile
  readonly file: string
}

/** One more prompt and one more generation under the profiler; their traces go into one file, one after the other. */
async function profiled(model: Model, promptTokens: number, nTokens: number, file: string): Promise<Profiled> {
  progress('recording a profile')
  const prompt = await model.profile(() => promptSpeed(model, promptTokens, 2000))
  const generation = await model.profile(() => generationSpeed(model, nTokens, 2001))
  const traces = [prompt, generation].map((profile) => profile.toChromeTrace())
  // Processes of a trace are shown below each other: each part keeps its own clock.
  const traceEvents = traces.flatMap(({ traceEvents }, i) =>
    traceEvents.map((event) => ({
      ...event,
      pid: i + 1,
      ...('name' in event && event.name === 'process_name' && { args: { name: i === 0 ? 'prompt' : 'generation' } }),
    })),
  )
  await writeFile(file, JSON.stringify({ ...traces[0], traceEvents }))
  return { prompt, generation, file }
}

function profileTable(title: string, { ops, steps, threads, lost, overheadMicroseconds }: Profile): string {
  const rows = ops.map((op) => [
    op.op,
    op.type,
    String(op.calls),
    op.milliseconds.toFixed(2),
    `${(100 * op.share).toFixed(1)} %`,
    `${(100 * op.busy).toFixed(0)} %`,
    op.overheadMicroseconds.toFixed(1),
    op.gigabytesPerSecond.toFixed(1),
    op.gigaopsPerSecond > 0 ? op.gigaopsPerSecond.toFixed(1) : '',
  ])
  const head = [`${title}: ${steps} steps, ${threads} threads`, 'type', 'calls', 'ms', 'share', 'busy', 'µs lost', 'GB/s', 'GOP/s']
  const lostTime = `\nper op ${overheadMicroseconds.toFixed(1)} µs were lost to sharing it out among the threads`
  return table([head, ...rows], [2, 3, 4, 5, 6, 7, 8]) + lostTime + (lost > 0 ? `\n(${lost} pieces of work were not recorded)` : '')
}
