/** `infernode chat`: a conversation in the terminal, or one line of stdin a turn. */
import { createInterface } from 'node:readline'
import type { Command } from 'commander'
import { type ChatMessage, type GenerateOptions, type GenerateResult, type Model } from '../index.js'
import { loadModel, modelLine, type ModelFlags, withModelOptions } from './load.js'
import { samplingOptions, speedLine, withSamplingOptions } from './sampling.js'
import { bold, explain, exitCodes, interruption, listenForTurns, remark, UsageError, write } from './terminal.js'

type Flags = ModelFlags &
  Omit<GenerateOptions, 'signal'> & { system?: string; template?: string; var?: Record<string, unknown>; quiet?: boolean }

const help = `
Each line that you type is a turn; the whole conversation is the prompt of the next answer. Ctrl-C stops an answer, a second one
leaves, as does Ctrl-D. /clear forgets the conversation, /exit leaves.

Examples:
  $ infernode chat --model qwen2.5-0.5b-instruct-q8_0.gguf
  $ infernode chat --model ./hf-folder --system "Answer in one word." --temperature 0
  $ infernode chat --model qwen3.gguf --var enable_thinking=false
  $ echo "Why is the sky blue?" | infernode chat --model model.gguf --quiet`

export function addChat(program: Command): void {
  withSamplingOptions(withModelOptions(program.command('chat')))
    .summary('talk with an instruction-tuned model')
    .description('Keeps a conversation: answers go to stdout as they are made, everything else to stderr.')
    .option('--system <text>', 'what the model is told before the conversation')
    .option('--template <jinja>', "a chat template instead of the checkpoint's")
    .option('--var <name=value>', 'a variable of the template, as JSON or text; repeatable', variable)
    .option('-q, --quiet', 'nothing but answers and errors')
    .addHelpText('after', help)
    .action(chat)
}

async function chat(flags: Flags): Promise<void> {
  const { system, template, var: variables, ...rest } = flags
  const model = await loadModel(rest)
  try {
    const options = {
      ...samplingOptions(rest),
      ...(template !== undefined && { chatTemplate: template }),
      ...(variables && { templateVariables: variables }),
    }
    // What is wrong with the model or the options shows now, not after the first question.
    model.chat([{ role: 'user', content: '' }], { ...options, signal: AbortSignal.abort() })
    if (!flags.quiet) remark(modelLine(model))
    await converse(model, options, system === undefined ? [] : [{ role: 'system', content: system }], flags.quiet ?? false)
  } finally {
    await model.dispose()
  }
}

async function converse(model: Model, options: object, start: ChatMessage[], quiet: boolean): Promise<void> {
  const interactive = Boolean(process.stdin.isTTY && process.stderr.isTTY)
  const lines = createInterface({
    input: process.stdin,
    ...(interactive && { output: process.stderr, prompt: bold('> ', process.stderr) }),
    terminal: interactive,
  })
  let answering: AbortController | undefined
  // Ctrl-C ends the answer in the making; without one it ends the conversation.
  const stop = (): void => {
    if (answering && !answering.signal.aborted) answering.abort()
    else {
      interruption.abort(new Error('interrupted'))
      lines.close()
    }
  }
  const forget = listenForTurns(stop)
  lines.on('SIGINT', stop)
  let messages = [...start]
  try {
    if (interactive) lines.prompt()
    for await (const line of lines) {
      if (line === '/exit') break
      if (line === '/clear') messages = [...start]
      else if (line.trim() !== '') {
        answering = new AbortController()
        messages.push({ role: 'user', content: line })
        try {
          messages.push({ role: 'assistant', content: await answer(model, messages, options, answering.signal, quiet) })
        } catch (error) {
          // One bad turn need not end a conversation between people; a script wants to know.
          if (!interactive) throw error
          explain(error)
          messages.pop()
        }
        answering = undefined
      }
      if (interruption.signal.aborted) break
      if (interactive) lines.prompt()
    }
  } finally {
    forget()
    lines.close()
  }
  if (interruption.signal.aborted) process.exitCode = exitCodes.interrupted
}

/** Streams one answer; what was said until an interruption counts. */
async function answer(
  model: Model,
  messages: readonly ChatMessage[],
  options: object,
  signal: AbortSignal,
  quiet: boolean,
): Promise<string> {
  const generate = model.chat(messages, { ...options, signal })
  let text = ''
  let result: GenerateResult | undefined
  try {
    for await (const piece of generate) {
      text += piece.text
      await write(piece.text)
    }
    result = await generate.result()
  } catch (error) {
    if (!signal.aborted) throw error
  }
  await write('\n')
  if (!quiet && result) remark(speedLine(result))
  return text
}

/** "enable_thinking=false": JSON where it is JSON, text otherwise. */
function variable(text: string, before: Readonly<Record<string, unknown>> | undefined): Record<string, unknown> {
  const at = text.indexOf('=')
  if (at < 1) throw new UsageError('--var: expected NAME=VALUE, for example enable_thinking=false.')
  let value: unknown = text.slice(at + 1)
  try {
    value = JSON.parse(value as string)
  } catch {
    // It is text.
  }
  return { ...before, [text.slice(0, at)]: value }
}
