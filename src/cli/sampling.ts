/** The options of all commands that generate text, and the line that tells how fast it went. */
import type { Command } from 'commander'
import type { GenerateOptions, GenerateResult } from '../index.js'
import type { ModelFlags } from './load.js'
import { bias, ids, list, number } from './terminal.js'

export function withSamplingOptions(command: Command): Command {
  return command
    .option('-n, --max-tokens <n>', 'most tokens to generate (default: 256)', number)
    .option('-t, --temperature <x>', 'divides the logits; 0: greedy', number)
    .option('--top-k <n>', 'sample among the n likeliest tokens; 0: all', number)
    .option('--top-p <x>', 'sample among the likeliest tokens with this probability together; 1: all', number)
    .option('--min-p <x>', "drop tokens below this share of the likeliest one's probability; 0: none", number)
    .option('--typical-p <x>', 'sample among the most typical tokens with this probability together; 1: all', number)
    .option('--repetition-penalty <x>', 'divides the logits of tokens that occurred; 1: none', number)
    .option('--presence-penalty <x>', 'subtracted from the logits of tokens that occurred', number)
    .option('--frequency-penalty <x>', 'subtracted for each time that a token occurred', number)
    .option('--penalty-window <n>', 'how many of the latest tokens the penalties look at; 0: all', number)
    .option('--logit-bias <id=bias>', "added to a token's logit; repeatable; -Infinity forbids it", bias)
    .option('--seed <n>', 'the same seed gives the same text (default: chosen, and told on stderr)', number)
    .option('--stop <text>', 'end before this text; repeatable', list)
    .option('--stop-tokens <ids>', 'end at one of these token ids, separated by commas', ids)
}

/** The flags that are options of model.generate(), by the same names. */
export function samplingOptions<F extends ModelFlags & GenerateOptions & { json?: boolean; quiet?: boolean }>(
  flags: F,
): Omit<F, keyof ModelFlags | 'json' | 'quiet'> {
  const { model, threads, promptThreads, isa, kvType, context, cacheTokens, mmap, json, quiet, ...sampling } = flags
  return sampling
}

export function speedLine({ usage, timings }: GenerateResult): string {
  const prompt = `prompt ${usage.promptTokens} tokens at ${timings.promptTokensPerSecond.toFixed(1)} tokens/s`
  return `${prompt} · generation ${usage.completionTokens} tokens at ${timings.tokensPerSecond.toFixed(1)} tokens/s`
}
