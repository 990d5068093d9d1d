/** `infernode generate`: streams text to stdout, says on stderr how it was made. */
import type { Command } from 'commander'
import type { GenerateOptions } from '../index.js'
import { loadModel, modelLine, type ModelFlags, withModelOptions } from './load.js'
import { samplingOptions, speedLine, withSamplingOptions } from './sampling.js'
import { readTextArgument } from './stdin.js'
import { interruption, jsonOption, number, remark, UsageError, write, writeJson } from './terminal.js'

type Flags = ModelFlags & Omit<GenerateOptions, 'signal'> & { json?: boolean; quiet?: boolean }

const help = `
Defaults of the sampling options come from the checkpoint's generation_config.json; where it says nothing:
temperature 0.8, top-k 40, top-p 0.95. Temperature 0 takes the likeliest token every time.

Examples:
  $ infernode generate "Once upon a time"
  $ infernode generate --model gemma-3-270m.gguf --temperature 0 --max-tokens 50 "The capital of France is"
  $ infernode generate --seed 7 --stop "." --stop "!" "The king said"
  $ cat chapter.txt | infernode generate --model ./hf-folder -
  $ infernode generate --json --logprobs 3 "Once" | jq .logprobs[0]`

export function addGenerate(program: Command): void {
  withSamplingOptions(withModelOptions(program.command('generate')))
    .summary('continue a text')
    .description('Continues a text: it goes to stdout as it is made; one line about model, machine and speed to stderr.')
    .argument('<prompt>', 'the text to continue; "-" reads it from stdin')
    .option('--logprobs <n>', 'with --json: log-probabilities, and those of the n likeliest tokens', number)
    .option('--echo', 'print the prompt too')
    .option('--no-add-special', 'do not add a beginning-of-text token')
    .option('--parse-special', 'let control tokens that are spelled out in the prompt act as such')
    .addOption(jsonOption())
    .option('-q, --quiet', 'no line on stderr')
    .addHelpText('after', help)
    .action(generate)
}

async function generate(prompt: string, flags: Flags): Promise<void> {
  if (flags.logprobs !== undefined && !flags.json) throw new UsageError('--logprobs needs --json.')
  const text = await readTextArgument(prompt)
  const model = await loadModel(flags)
  try {
    const story = model.generate(text, { ...samplingOptions(flags), signal: interruption.signal })
    let last = ''
    if (!flags.json) {
      for await (const piece of story) {
        await write(piece.text)
        last = piece.text || last
      }
      if (!last.endsWith('\n')) await write('\n')
    }
    const result = await story.result()
    if (flags.json) await writeJson({ ...result, model: model.info })
    if (!flags.quiet) remark(`${modelLine(model)} · ${speedLine(result)} · seed ${result.seed}`)
  } finally {
    await model.dispose()
  }
}
