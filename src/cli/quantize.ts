/** `infernode quantize` and `infernode convert`: checkpoints written as GGUF files. */
import cliProgress from 'cli-progress'
import { type Command, InvalidArgumentError } from 'commander'
import { convert, type ConversionReport, quantize, type TargetType, type TensorReport, type WriteOptions } from '../index.js'
import { bold, bytes, interruption, jsonOption, number, remark, table, write, writeJson } from './terminal.js'

interface Flags {
  type?: string
  keep?: Record<string, TargetType | null>
  pure?: boolean
  threads?: number
  allowRequantize?: boolean
  force?: boolean
  json?: boolean
}

const keepHelp = `
A pattern is a name as the file has it, such as blk.0.ffn_down.weight; * stands for any characters, .weight at the end may be left
out. PATTERN alone keeps the type of the input. Of several patterns that match a tensor, the last counts. --json prints the report:
for each tensor name, shape, from, to, bytes, rms, rmse and worstBlock.

The file appears under its name when it is complete; until then it is <output>.partial. Ctrl-C removes that and ends with 130.`

const quantizeHelp = `
Types: f32, f16, bf16; q8_0, q6_k, q5_k, q4_k, …: an unknown one is answered with the list. Below 8 bits the embeddings and the
output matrix become q6_k, and with K-quants attn_v and ffn_down one type up, unless --pure is given. Rows that are no whole number
of blocks get a type whose blocks fit; the report says which. Norms, biases and routers stay f32.
${keepHelp}

Examples:
  $ infernode quantize model-f16.gguf model-q4_k.gguf --type q4_k
  $ infernode quantize ./hf-folder model-q8_0.gguf --type q8_0 --keep output=f16 --keep 'blk.0.*=f16'
  $ infernode quantize model-q8_0.gguf model-q4_k.gguf --type q4_k --allow-requantize`

const convertHelp = `
For the families llama, mistral, mixtral, qwen2, qwen3, qwen3_moe, gpt2, phi3, gemma, gemma2, gemma3_text and smollm3. Without --type every
matrix stays in the type that the folder has: nothing is lost.
${keepHelp}

Examples:
  $ infernode convert ./hf-folder model.gguf
  $ infernode convert ./hf-folder model-q8_0.gguf --type q8_0`

export function addQuantize(program: Command): void {
  withWriteOptions(program.command('quantize'))
    .summary('write a checkpoint with smaller weights')
    .description('Writes a GGUF file with quantized matrices, from a GGUF file or a Hugging Face folder in f32, f16 or bf16.')
    .argument('<input>', 'GGUF file or Hugging Face folder')
    .argument('<output>', 'GGUF file to write')
    .requiredOption('--type <type>', 'what matrices become, such as q8_0 or q4_k')
    .option('--allow-requantize', 'take matrices that are quantized already; errors add up')
    .addHelpText('after', quantizeHelp)
    .action((input: string, output: string, flags: Flags) =>
      run(flags, (options) =>
        quantize(input, output, {
          ...options,
          type: typeOf(flags.type!),
          ...(flags.pure ? { pure: true } : {}),
          ...(flags.allowRequantize ? { allowRequantize: true } : {}),
        }),
      ),
    )
}

export function addConvert(program: Command): void {
  withWriteOptions(program.command('convert'))
    .summary('write a Hugging Face folder as a GGUF file')
    .description('Writes a Hugging Face folder as one GGUF file, with config, tokenizer and chat template.')
    .argument('<folder>', 'Hugging Face folder')
    .argument('<output>', 'GGUF file to write')
    .option('--type <type>', 'what matrices become, such as f16, bf16 or q8_0 (default: what they are)')
    .addHelpText('after', convertHelp)
    .action((folder: string, output: string, flags: Flags) =>
      run(flags, (options) =>
        convert(folder, output, {
          ...options,
          ...(flags.type === undefined ? {} : { type: typeOf(flags.type) }),
          ...(flags.pure ? { pure: true } : {}),
        }),
      ),
    )
}

function withWriteOptions(command: Command): Command {
  return command
    .option('--keep <pattern=type>', 'another type for some tensors; may be given several times', keep)
    .option('--pure', 'the same type for every matrix')
    .option('--threads <n>', 'threads that encode (default: as many as are useful here)', number)
    .option('--force', 'replace an output that exists')
    .addOption(jsonOption())
}

/** The library knows which types there are, and says so. */
const typeOf = (text: string): TargetType => text.toLowerCase() as TargetType

function keep(text: string, before: Record<string, TargetType | null> | undefined): Record<string, TargetType | null> {
  const [, pattern, type] = /^([^=]+)(?:=([^=]+))?$/.exec(text) ?? []
  if (pattern === undefined) throw new InvalidArgumentError("Expected PATTERN=TYPE, for example 'blk.0.*=f16'.")
  // Given again, a pattern counts where it was given last.
  const { [pattern]: _, ...others } = before ?? {}
  return { ...others, [pattern]: type === undefined ? null : typeOf(type) }
}

async function run(flags: Flags, work: (options: WriteOptions) => Promise<ConversionReport>): Promise<void> {
  const bar = new cliProgress.SingleBar({
    stream: process.stderr,
    format: '{bar} {percentage} %  {eta_formatted}  {tensor}',
    barCompleteChar: '█',
    barIncompleteChar: '░',
    clearOnComplete: true,
    hideCursor: true,
    // Ctrl-C is terminal.ts's business.
    gracefulExit: false,
    // Not on a terminal it would write nothing anyway.
    noTTYOutput: false,
  })
  let started = false
  try {
    const report = await work({
      ...(flags.keep ? { keep: flags.keep } : {}),
      ...(flags.threads === undefined ? {} : { threads: flags.threads }),
      ...(flags.force ? { overwrite: true } : {}),
      signal: interruption.signal,
      onProgress({ tensor, valuesDone, nValues }) {
        if (!started) bar.start(nValues, 0, { tensor })
        started = true
        bar.update(valuesDone, { tensor })
      },
    })
    bar.stop()
    if (flags.json) await writeJson(report)
    else await write(`${table(tensorRows(report.tensors), [4, 5, 6])}\n`)
    tellSummary(report)
  } finally {
    bar.stop()
  }
}

function tensorRows(tensors: readonly TensorReport[]): string[][] {
  const header = ['tensor', 'shape', 'from', 'to', 'rmse', 'of rms', 'worst block'].map((name) => bold(name))
  return [header, ...tensors.map(tensorRow)]
}

function tensorRow({ name, shape, from, to, insteadOf, rms, rmse, worstBlock }: TensorReport): string[] {
  const type = insteadOf ? `${to} (rows do not fit ${insteadOf})` : to
  if (rmse === 0) return [name, shape.join(' × '), from, type, '0', '', '']
  const worst = `${worstBlock.rmse.toExponential(2)} in block ${worstBlock.index}`
  return [name, shape.join(' × '), from, type, rmse.toExponential(2), `${((rmse / rms) * 100).toFixed(2)} %`, worst]
}

function tellSummary({ path, bytesBefore, bytesAfter, fileBytes, tensors, remarks, seconds }: ConversionReport): void {
  for (const text of remarks) remark(`note: ${text}`)
  const share = bytesBefore > 0 ? `, ${((bytesAfter / bytesBefore) * 100).toFixed(1)} %` : ''
  const sizes = `${bytes(bytesBefore)} → ${bytes(bytesAfter)}${share}`
  remark(`wrote ${path} (${bytes(fileBytes)}): ${tensors.length} tensors, ${sizes}, in ${seconds.toFixed(1)} s`)
}
