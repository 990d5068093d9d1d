/** `infernode perplexity`: how well a model predicts a text. */
import { readFile } from 'node:fs/promises'
import type { Command } from 'commander'
import { inspect, type Model } from '../index.js'
import { loadModel, modelLine, type ModelFlags, withModelOptions } from './load.js'
import { interruption, jsonOption, number, progress, remark, UsageError, write, writeJson } from './terminal.js'

type Flags = ModelFlags & { ids?: string; stride?: number; addSpecial: boolean; json?: boolean }

const help = `
A text that fits is scored in one context of at most the model's length (or --context). A longer one is scored in windows of
that length: each begins --stride tokens after the one before it and adds only the tokens that no earlier window scored, so every
token but those of the first window is predicted from at least (context - stride) tokens before it. --json prints
{ perplexity, tokens, nll, meanNll, context, stride, windows }; nll lists -ln p of every token but the first.

Examples:
  $ infernode perplexity --model gemma-3-270m.gguf alice.txt
  $ infernode perplexity --context 512 --stride 256 --json alice.txt | jq .perplexity
  $ infernode perplexity --ids ids.json      # {"ids": [2, 43643, …]}: token ids instead of text`

export function addPerplexity(program: Command): void {
  withModelOptions(program.command('perplexity'))
    .summary('measure how well a model predicts a text')
    .description('Prints the perplexity of a text file under a model: exp of the mean negative log-likelihood of its tokens.')
    .argument('[file]', 'a text file in UTF-8')
    .option('--ids <file>', 'score the token ids of a JSON file with an "ids" array instead')
    .option('--stride <n>', 'tokens from window to window (default: half of the context)', number)
    .option('--no-add-special', 'do not add a beginning-of-text token')
    .addOption(jsonOption())
    .addHelpText('after', help)
    .action(perplexity)
}

async function perplexity(file: string | undefined, flags: Flags): Promise<void> {
  if ((file === undefined) === (flags.ids === undefined)) throw new UsageError('Give either a text file or --ids FILE.')
  const text = file === undefined ? undefined : await readFile(file, 'utf8')
  const givenIds = flags.ids === undefined ? undefined : await readIds(flags.ids)
  const { contextLength } = await inspect(flags.model)
  const context = Math.min(contextLength, flags.context ?? contextLength, flags.cacheTokens ?? contextLength)
  // A token is at least a byte of text, so the cache need not be larger than that.
  const mostTokens = givenIds?.length ?? Buffer.byteLength(text!) + 16
  const model = await loadModel({ cacheTokens: Math.max(1, Math.min(context, mostTokens)), ...flags })
  try {
    const ids = givenIds ?? (await model.encode(text!, { addSpecial: flags.addSpecial }))
    if (ids.length < 2) throw new UsageError('A perplexity needs at least two tokens.')
    const stride = flags.stride ?? Math.max(1, context >> 1)
    if (!Number.isInteger(stride) || stride < 1 || stride >= context)
      throw new UsageError(`--stride must be from 1 to ${context - 1}.`)
    await report(model, await scoreWindows(model, ids, context, stride), flags)
  } finally {
    await model.dispose()
  }
}

interface Scored {
  nll: number[]
  context: number
  stride: number
  windows: number
}

/** Every window starts `stride` after the one before it; its first tokens are context that was scored already. */
async function scoreWindows(
  model: Model,
  ids: Int32Array | readonly number[],
  context: number,
  stride: number,
): Promise<Scored> {
  const nll: number[] = []
  let windows = 0
  for (let start = 0; nll.length < ids.length - 1; start += stride) {
    const { logprobs } = await model.score(ids.slice(start, start + context), { signal: interruption.signal })
    // nll[i] belongs to ids[i + 1], logprobs[j] to ids[start + j + 1].
    for (let j = nll.length - start; j < logprobs.length; j++) nll.push(-logprobs[j]!)
    windows++
    progress(`scored ${nll.length + 1} of ${ids.length} tokens`)
  }
  progress('')
  return { nll, context, stride, windows }
}

async function report(model: Model, { nll, context, stride, windows }: Scored, flags: Flags): Promise<void> {
  const meanNll = nll.reduce((sum, value) => sum + value, 0) / nll.length
  const perplexity = Math.exp(meanNll)
  if (flags.json)
    return writeJson({ perplexity, tokens: nll.length, nll, meanNll, context, stride: windows > 1 ? stride : null, windows })
  const how = windows > 1 ? `${windows} windows of ${context} tokens, stride ${stride}` : 'one context'
  await write(`perplexity ${perplexity.toFixed(4)}  (${nll.length} tokens scored, ${how})\n`)
  remark(modelLine(model))
}

async function readIds(file: string): Promise<number[]> {
  const text = await readFile(file, 'utf8')
  let ids: unknown
  try {
    const parsed = JSON.parse(text) as unknown
    ids = Array.isArray(parsed) ? parsed : (parsed as { ids?: unknown } | null)?.ids
  } catch (error) {
    throw new UsageError(`${file} is not JSON: ${(error as Error).message}`)
  }
  if (!Array.isArray(ids) || !ids.every((id) => Number.isInteger(id)))
    throw new UsageError(`${file} has no array "ids" of token ids.`)
  return ids as number[]
}
