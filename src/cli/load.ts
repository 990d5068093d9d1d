/** The options of all commands that load a model, and the loading. */
import { type Command, Option } from 'commander'
import { type LoadOptions, Model } from '../index.js'
import { interruption, number, progress } from './terminal.js'

export interface ModelFlags {
  model?: string
  threads?: number
  promptThreads?: number
  isa?: string
  kvType?: NonNullable<LoadOptions['kvType']>
  context?: number
  cacheTokens?: number
  /** False with --no-mmap. */
  mmap: boolean
}

export const modelOption = (): Option =>
  new Option('-m, --model <path>', 'GGUF file or Hugging Face folder (default: the story model inside)')

export function withModelOptions(command: Command): Command {
  return command
    .addOption(modelOption())
    .option('--threads <n>', 'threads of a step (default: as many as are useful here)', number)
    .option('--prompt-threads <n>', 'threads of a step that computes a prompt (default: as --threads)', number)
    .option('--isa <name>', 'ISA variant of the kernels; `infernode info` lists them (default: the best)')
    .addOption(
      new Option('--kv-type <type>', 'how the KV cache stores keys and values').choices(['f16', 'f32', 'bf16', 'q8_0']),
    )
    .option('--context <n>', "most positions of a text (default: the checkpoint's)", number)
    .option('--cache-tokens <n>', 'positions in the KV cache (default: four times the context, at most 16384)', number)
    .option('--no-mmap', 'read the weights into memory instead of mapping the file')
}

export async function loadModel(flags: ModelFlags, more: Partial<LoadOptions> = {}): Promise<Model> {
  const { model: path, threads, promptThreads, isa, kvType, context: contextLength, cacheTokens, mmap } = flags
  const options = { threads, promptThreads, isa, kvType, contextLength, cacheTokens, mmap, signal: interruption.signal }
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as LoadOptions
  try {
    return await Model.load(path, { ...given, ...more, onProgress: ({ stage }) => progress(`loading: ${stage}`) })
  } finally {
    progress('')
  }
}

/** "fairytale (llama, q8_0) · backend cpu · isa avx2 · 2 threads", for the last line of a command. */
export function modelLine({ info }: Model): string {
  const [mainType] = Object.keys(info.types)
  const threads = `${info.threads} thread${info.threads === 1 ? '' : 's'}`
  const prompts = info.promptThreads === info.threads ? '' : `, ${info.promptThreads} for prompts`
  return `${info.name} (${info.architecture}, ${mainType}) · backend ${info.backend} · isa ${info.isa} · ${threads}${prompts}`
}
