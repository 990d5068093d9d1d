#!/usr/bin/env node
/** The command line: one file a command, each a thin user of the public API. */
import { readFileSync } from 'node:fs'
import { Command } from 'commander'
import { addBench } from './bench.js'
import { addChat } from './chat.js'
import { addGenerate } from './generate.js'
import { addInfo } from './info.js'
import { addInspect } from './inspect.js'
import { addPerplexity } from './perplexity.js'
import { addConvert, addQuantize } from './quantize.js'
import { endQuietlyOnClosedPipe, explain, interruption, exitCodes, listenForInterruption } from './terminal.js'
import { addTokenize } from './tokenize.js'

const help = `
Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted by Ctrl-C.

Examples:
  $ infernode generate "Once upon a time"                     a story, from the small model in the package
  $ infernode generate --model path/to/model.gguf "Dear Sir"   any GGUF file, or a Hugging Face folder
  $ infernode chat --model path/to/instruct.gguf               a conversation
  $ infernode quantize model-f16.gguf small.gguf --type q4_k   smaller weights
  $ infernode inspect --model path/to/model.gguf --graph plan.html
  $ infernode help generate                                   all options of a command`

function makeProgram(): Command {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
  const program = new Command('infernode')
    .description('Runs quantized transformers inside Node.js.')
    .version(version)
    .addHelpText('after', help)
    .showHelpAfterError('(--help tells more)')
    .exitOverride()
  for (const add of [addGenerate, addChat, addInspect, addTokenize, addPerplexity, addQuantize, addConvert, addBench, addInfo]) add(program)
  for (const command of program.commands) command.exitOverride().showHelpAfterError('(--help tells more)')
  return program
}

async function main(): Promise<void> {
  endQuietlyOnClosedPipe()
  listenForInterruption()
  try {
    await makeProgram().parseAsync()
    process.exitCode = interruption.signal.aborted ? exitCodes.interrupted : exitCodes.ok
  } catch (error) {
    process.exitCode = explain(error)
  }
}

void main()
