/** `infernode inspect`: what is in a checkpoint, and what would run. */
import { writeFile } from 'node:fs/promises'
import type { Command } from 'commander'
import { drawPlan, formatPlan, inspect, type Inspection } from '../index.js'
import { modelOption } from './load.js'
import { bold, bytes, jsonOption, millions, remark, table, UsageError, write, writeJson } from './terminal.js'

interface Flags {
  model?: string
  plan?: boolean
  graph?: string
  json?: boolean
}

const help = `
Reads headers only: a file of any size is inspected in a moment, and nothing is computed. --json prints everything, the plan
included.

Examples:
  $ infernode inspect --model gemma-3-270m.gguf
  $ infernode inspect --plan                                    the steps that run, of the story model inside
  $ infernode inspect --model ./hf-folder --graph plan.html     a picture of them, for a browser
  $ infernode inspect --json | jq '.tensors[] | select(.type == "q8_0") | .name'`

export function addInspect(program: Command): void {
  program
    .command('inspect')
    .summary('show config, tensors, tokenizer and plan of a checkpoint')
    .description(
      'Prints what is in a checkpoint: config, tensors with types and sizes, tokenizer; and the plan that would run.',
    )
    .argument('[path]', 'GGUF file or Hugging Face folder; the same as --model')
    .addOption(modelOption())
    .option('--plan', 'print the plan: the steps after fusion and memory planning')
    .option('--graph <file>', 'draw the plan into a .svg or a self-contained .html file')
    .addOption(jsonOption())
    .addHelpText('after', help)
    .action(run)
}

async function run(path: string | undefined, flags: Flags): Promise<void> {
  if (path !== undefined && flags.model !== undefined)
    throw new UsageError('Give the path once, as an argument or with --model.')
  const kind = flags.graph && /\.(svg|html)$/.exec(flags.graph)?.[1]
  if (flags.graph !== undefined && !kind) throw new UsageError('--graph draws into a file that ends in .svg or .html.')
  const found = await inspect(path ?? flags.model)
  if (flags.graph) {
    await writeFile(flags.graph, drawPlan(found.plan, kind as 'svg' | 'html'))
    remark(`wrote ${flags.graph}`)
  }
  if (flags.json) await writeJson(found)
  else if (flags.plan) await write(`${formatPlan(found.plan)}\n`)
  else if (!flags.graph) await write(summary(found))
}

function summary(found: Inspection): string {
  const sections: [title: string, body: string][] = [
    [found.name, table(overview(found))],
    ['Config', table(Object.entries(found.config).map(([key, value]) => [key, short(value)]))],
    ['Tokenizer', found.tokenizer ? table(tokenizerRows(found.tokenizer)) : 'none'],
    ['Tensors', table(tensorRows(found), [2, 3])],
  ]
  return `${sections.map(([title, body]) => `${bold(title)}\n${body.replaceAll(/^/gm, '  ')}\n`).join('\n')}`
}

function overview(found: Inspection): string[][] {
  const { plan } = found
  const types = Object.entries(found.types).map(([type, size]) => `${type} ${bytes(size)}`)
  const layers = new Map<number, number>()
  for (const { layers: group, window } of plan.kv.groups) layers.set(window, (layers.get(window) ?? 0) + group.length)
  const windows = [...layers].map(([window, count]) =>
    window ? `${count} layers with a window of ${window}` : `${count} layers see all`,
  )
  return [
    ['architecture', found.architecture],
    ['format', `${found.format}, ${found.files.map((file) => `${file.path} (${bytes(file.bytes)})`).join(', ')}`],
    ['parameters', `${millions(found.parameters)} in ${found.tensors.length} tensors, ${bytes(found.bytes)}`],
    ['types', types.join(', ')],
    ['vocabulary', `${found.vocabSize} tokens`],
    ['context', `${found.contextLength} positions`],
    ['attention', `${windows.join(', ')}; ${plan.kv.nKvHeads} KV heads of ${plan.kv.headDim}`],
    ['generation', short(found.generation)],
    ['chat template', found.hasChatTemplate ? 'yes' : 'no'],
    ['plan', `${plan.steps.length} steps; --plan prints them, --graph draws them`],
    // Worth a look: they may say that a checkpoint holds more than what runs.
    ...(found.unusedTensors.length > 0 ? [['not read', short(found.unusedTensors)]] : []),
  ]
}

function tokenizerRows({ from, kind, problem, slowPatterns, settings }: NonNullable<Inspection['tokenizer']>): string[][] {
  const rows = Object.entries(settings).map(([key, value]) => [key, short(value)])
  return [['from', from], kind ? ['kind', kind] : ['cannot be used', problem!], ...slowPatterns.map((regex) => ['slower at', short(regex)]), ...rows]
}

function tensorRows({ tensors }: Inspection): string[][] {
  return tensors.map(({ name, type, shape, bytes: size }) => [name, type, `[${shape.join(', ')}]`, bytes(size)])
}

/** A value of a config on one line. */
function short(value: unknown): string {
  // GGUF's 32-bit floats have seven digits; the rest is noise of their conversion.
  const plain = typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(7)) : value
  const text = typeof plain === 'string' ? plain : (JSON.stringify(plain) ?? String(plain))
  const line = text.replaceAll('\n', '⏎')
  return line.length > 100 ? `${line.slice(0, 100)}…` : line
}
