/** `infernode bench`: how fast a model runs here, and how much of this machine that is. */
import type { Command } from 'commander'
import { inspect, measureMachine, type MachinePeaks, type Model } from '../index.js'
import { loadModel, modelLine, type ModelFlags, withModelOptions } from './load.js'
import { interruption, jsonOption, number, progress, remark, table, UsageError, write, writeJson } from './terminal.js'
import { workOfPlan, type Work } from './work.js'

type Flags = ModelFlags & { promptTokens: number; tokens: number; repeat: number; json?: boolean }

const help = `
Each of the repetitions computes a prompt of random tokens and generates after a short one; medians are printed. The shares say
how much of this machine's limits that is, measured in the same run: generation reads every weight once per token, so its limit is
the bandwidth of memory (files that fit into a cache can exceed it); a prompt computes, so its limit is the rate of int8
multiply-adds.

Examples:
  $ infernode bench
  $ infernode bench --model model.gguf --threads 4 --prompt-tokens 512 --tokens 128 --json`

export function addBench(program: Command): void {
  withModelOptions(program.command('bench'))
    .summary('measure the speed of prompts and of generation')
    .description("Measures tokens per second for prompts and for generation, beside this machine's own limits.")
    .option('-p, --prompt-tokens <n>', 'length of the prompt', number, 512)
    .option('-n, --tokens <n>', 'tokens to generate', number, 128)
    .option('-r, --repeat <n>', 'repetitions', number, 5)
    .addOption(jsonOption())
    .addHelpText('after', help)
    .action(bench)
}

async function bench(flags: Flags): Promise<void> {
  for (const [name, value] of Object.entries({
    '--prompt-tokens': flags.promptTokens,
    '--tokens': flags.tokens,
    '--repeat': flags.repeat,
  })) {
    if (!Number.isInteger(value) || value < 1) throw new UsageError(`${name} must be a whole number of at least 1.`)
  }
  const { plan, tensors } = await inspect(flags.model)
  const context = Math.min(flags.context ?? plan.contextLength, plan.contextLength)
  // Small contexts get small benchmarks, and the output says so.
  const promptTokens = Math.min(flags.promptTokens, context - 1)
  const nTokens = Math.min(flags.tokens, context - shortPrompt - 1)
  if (promptTokens < 1 || nTokens < 2) throw new UsageError('The context is too short for a benchmark.')
  const model = await loadModel({ cacheTokens: Math.max(promptTokens + 1, shortPrompt + nTokens + 1), ...flags })
  try {
    const { isa, threads } = model.info
    progress('measuring this machine')
    const peaks = await measureMachine({ isa, threads })
    const prompt: number[] = []
    const generation: number[] = []
    for (let turn = 0; turn <= flags.repeat; turn++) {
      progress(turn === 0 ? 'warming up' : `turn ${turn} of ${flags.repeat}`)
      const speeds = [await promptSpeed(model, promptTokens, turn), await generationSpeed(model, nTokens, turn)] as const
      if (turn === 0) continue // it paged the file in
      prompt.push(speeds[0])
      generation.push(speeds[1])
    }
    progress('')
    const sizes = new Map(tensors.map(({ name, bytes }) => [name, bytes]))
    const work = workOfPlan(plan, (name) => sizes.get(name) ?? 0)
    await report(model, { prompt, generation, promptTokens, nTokens }, peaks, work, flags.json ?? false)
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
}

async function report(
  model: Model,
  { prompt, generation, promptTokens, nTokens }: Speeds,
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
  remark(modelLine(model))
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}
