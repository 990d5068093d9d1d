/** Hugging Face folders: config.json, *.safetensors, tokenizer.json and what stands beside them. */
import { basename, join, resolve } from 'node:path'
import { InfernodeError } from '../errors.js'
import type { Checkpoint, CheckpointFile, Conventions, GenerationDefaults, TensorInfo, TokenizerSource } from './checkpoint.js'
import { exists, quoteForPeople, readWhole, Turn } from './file.js'
import { samplingDefaults } from './generation.js'
import { isJsonObject, readJsonObject, type Json, type JsonObject } from './json.js'
import { readSafetensorsHeader, type SafetensorsHeader, type SafetensorsTensor } from './safetensors.js'

interface ModelTypeConventions extends Conventions {
  /** Prefixes of names that differ from the family's, as multimodal checkpoints have them. */
  readonly prefixes?: Readonly<Record<string, string>>
  /** Added to the weight of every norm of the language model. */
  readonly addToNorms?: number
  /** Matrices stored as [in, out]. */
  readonly transposed?: RegExp
}

/** Gemma's norms multiply by 1 + weight. */
const gemma: ModelTypeConventions = { ropePairing: 'half', addToNorms: 1 }

/** By config.json's model_type. What is not here is not guessed: its checkpoints open without conventions. */
const conventions: Readonly<Record<string, ModelTypeConventions>> = {
  llama: { ropePairing: 'half' },
  mistral: { ropePairing: 'half' },
  qwen2: { ropePairing: 'half' },
  mixtral: { ropePairing: 'half' },
  qwen3: { ropePairing: 'half' },
  qwen3_moe: { ropePairing: 'half' },
  phi3: { ropePairing: 'half' },
  smollm3: { ropePairing: 'half' },
  // Checkpoints of GPT2Model alone lack the first word of every name. Its Conv1D is a linear with the matrix the other way.
  gpt2: {
    ropePairing: 'half',
    prefixes: { 'h.': 'transformer.h.', 'wte.': 'transformer.wte.', 'wpe.': 'transformer.wpe.', 'ln_f.': 'transformer.ln_f.' },
    transposed: /\.(attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj)\.weight$/,
  },
  gemma,
  gemma2: gemma,
  gemma3_text: gemma,
  // With a vision tower beside the language model; the second spelling is that of transformers since 4.52.
  gemma3: {
    ...gemma,
    prefixes: { 'language_model.model.': 'model.', 'language_model.lm_head.': 'lm_head.', 'model.language_model.': 'model.' },
  },
}

const maxConfigBytes = 16 << 20
const maxIndexBytes = 64 << 20
const maxTemplateBytes = 1 << 20
const maxTokenId = 2 ** 31 - 1

/** Opens a folder with config.json. Tensors' bytes and tokenizer.json are not read. */
export async function openHuggingFace(folder: string, signal?: AbortSignal): Promise<Checkpoint> {
  const configPath = join(folder, 'config.json')
  const config = await readJsonObject(configPath, maxConfigBytes, signal)
  const modelType = config.model_type
  if (typeof modelType !== 'string' || modelType === '')
    throw invalid(configPath, 'model_type', 'expected the name of a model type')
  checkNotQuantized(config, configPath)
  const row = Object.hasOwn(conventions, modelType) ? conventions[modelType]! : null
  const shards = await readShards(folder, signal)
  const tokenizerConfig = await readOptional(join(folder, 'tokenizer_config.json'), signal)
  return {
    format: 'safetensors',
    path: folder,
    name: basename(resolve(folder)),
    files: shards.map(({ file }) => file),
    modelType,
    config: { from: 'hf', path: configPath, json: config },
    conventions: row && { ropePairing: row.ropePairing },
    tensors: await nameTensors(shards, row, signal),
    tokenizer: await tokenizerOf(folder, tokenizerConfig),
    chatTemplate: await chatTemplateOf(folder, tokenizerConfig, signal),
    generation: generationOf(
      await readOptional(join(folder, 'generation_config.json'), signal),
      join(folder, 'generation_config.json'),
      config,
      configPath,
    ),
  }
}

/** GPTQ, AWQ, bitsandbytes and others give the same names other meanings. */
function checkNotQuantized(config: JsonObject, path: string): void {
  const quantization = config.quantization_config ?? config.compression_config
  if (quantization === undefined || quantization === null) return
  const method =
    isJsonObject(quantization) && typeof quantization.quant_method === 'string'
      ? quantization.quant_method
      : 'an unnamed method'
  throw new InfernodeError(
    'FORMAT_UNSUPPORTED',
    quoteForPeople(path),
    'quantization_config',
    `weights quantized by ${quoteForPeople(method)} are not read`,
  )
}

async function readOptional(path: string, signal?: AbortSignal): Promise<JsonObject> {
  return (await exists(path)) ? readJsonObject(path, maxConfigBytes, signal) : {}
}

// Tensors

interface Shard {
  readonly file: CheckpointFile
  readonly tensors: readonly SafetensorsTensor[]
}

async function readShards(folder: string, signal: AbortSignal | undefined): Promise<Shard[]> {
  const single = join(folder, 'model.safetensors')
  if (await exists(single)) return [await readSafetensorsHeader(single, signal)]
  const indexPath = join(folder, 'model.safetensors.index.json')
  if (await exists(indexPath)) return readIndexedShards(folder, indexPath, signal)
  const pickled =
    (await exists(join(folder, 'pytorch_model.bin'))) || (await exists(join(folder, 'pytorch_model.bin.index.json')))
  if (pickled)
    throw new InfernodeError(
      'FORMAT_UNSUPPORTED',
      quoteForPeople(folder),
      'pytorch_model.bin',
      'pickled weights can run code and are not read; save them as safetensors',
    )
  throw new InfernodeError('FILE_UNREADABLE', quoteForPeople(single), 'neither it nor model.safetensors.index.json exists')
}

/** Each shard has the tensors that the index places there; others in the file are ignored, as they are by transformers. */
async function readIndexedShards(folder: string, indexPath: string, signal: AbortSignal | undefined): Promise<Shard[]> {
  const turn = new Turn(signal)
  const places = (await readJsonObject(indexPath, maxIndexBytes, signal)).weight_map
  if (!isJsonObject(places)) throw corrupt(indexPath, 'weight_map', 'not an object')
  const namesByFile = new Map<string, string[]>()
  for (const [name, file] of Object.entries(places)) {
    if (turn.over()) await turn.next()
    const field = `weight_map "${quoteForPeople(name)}"`
    if (typeof file !== 'string') throw corrupt(indexPath, field, 'not a file name')
    const names = namesByFile.get(file)
    if (names) names.push(name)
    else if (isInside(file)) namesByFile.set(file, [name])
    else throw corrupt(indexPath, field, `"${quoteForPeople(file)}" is not the name of a *.safetensors file inside the folder`)
  }
  if (namesByFile.size === 0) throw corrupt(indexPath, 'weight_map', 'empty')
  const shards: Shard[] = []
  for (const [file, names] of namesByFile) {
    const path = join(folder, file)
    if (!(await exists(path)))
      throw new InfernodeError(
        'FILE_UNREADABLE',
        quoteForPeople(path),
        `it does not exist, but model.safetensors.index.json names it`,
      )
    shards.push(claimed(await readSafetensorsHeader(path, signal), names, indexPath))
    if (turn.over()) await turn.next()
  }
  return shards
}

function claimed(header: SafetensorsHeader, names: readonly string[], indexPath: string): Shard {
  const tensors = new Map(header.tensors.map((tensor) => [tensor.name, tensor]))
  const skipped = new Set(header.skipped)
  return {
    file: header.file,
    tensors: names.flatMap((name) => {
      const tensor = tensors.get(name)
      if (!tensor && !skipped.has(name))
        throw corrupt(
          indexPath,
          `weight_map "${quoteForPeople(name)}"`,
          `${quoteForPeople(header.file.path)} has no such tensor`,
        )
      return tensor ?? []
    }),
  }
}

/** No way out of the folder by the name itself; links are followed, as Hugging Face's cache is made of them. */
const isInside = (file: string): boolean =>
  file.length <= 1024 &&
  file.endsWith('.safetensors') &&
  !/[\\:\u0000]/.test(file) &&
  file.split('/').every((part) => part !== '' && part !== '.' && part !== '..')

async function nameTensors(
  shards: readonly Shard[],
  row: ModelTypeConventions | null,
  signal: AbortSignal | undefined,
): Promise<Map<string, TensorInfo>> {
  const turn = new Turn(signal)
  const prefixes = Object.entries(row?.prefixes ?? {})
  const tensors = new Map<string, TensorInfo>()
  for (const [file, shard] of shards.entries())
    for (const { name: sourceName, ...place } of shard.tensors) {
      if (turn.over()) await turn.next()
      const [from, to] = prefixes.find(([prefix]) => sourceName.startsWith(prefix)) ?? ['', '']
      const name = to + sourceName.slice(from.length)
      const other = tensors.get(name)
      if (other)
        throw corrupt(
          shard.file.path,
          `tensor "${quoteForPeople(sourceName)}"`,
          `the same tensor as "${quoteForPeople(other.sourceName)}"`,
        )
      // Only the language model's: a vision tower's norms are of another kind.
      const add =
        row?.addToNorms !== undefined && /^model\.(layers\.\d+\..*)?[a-z_]*norm\.weight$/.test(name)
          ? { add: row.addToNorms }
          : {}
      const turned = row?.transposed?.test(name) === true && place.shape.length === 2
      const transposed = turned ? ({ shape: [...place.shape].reverse(), transposed: true } as const) : {}
      tensors.set(name, { name, sourceName, ...place, file, ...add, ...transposed })
    }
  return tensors
}

// Texts

async function tokenizerOf(folder: string, config: JsonObject): Promise<TokenizerSource | null> {
  const path = join(folder, 'tokenizer.json')
  return (await exists(path)) ? { from: 'tokenizer.json', path, config } : null
}

/** chat_template.jinja wins over tokenizer_config.json, as in transformers; of several named templates, "default". */
async function chatTemplateOf(
  folder: string,
  tokenizerConfig: JsonObject,
  signal: AbortSignal | undefined,
): Promise<string | null> {
  const file = join(folder, 'chat_template.jinja')
  if (await exists(file)) return (await readWhole(file, maxTemplateBytes, signal)).toString('utf8')
  const path = join(folder, 'tokenizer_config.json')
  const template = tokenizerConfig.chat_template ?? null
  if (template === null || typeof template === 'string') return template
  if (!Array.isArray(template)) throw invalid(path, 'chat_template', 'neither a string nor a list of templates')
  const named = template.find((entry) => isJsonObject(entry) && entry.name === 'default')
  if (named === undefined) return null
  const text = (named as JsonObject).template
  if (typeof text !== 'string') throw invalid(path, 'chat_template', 'its default has no template')
  return text
}

const samplingFields = {
  temperature: 'temperature',
  topK: 'top_k',
  topP: 'top_p',
  minP: 'min_p',
  repetitionPenalty: 'repetition_penalty',
}

/** transformers ignores sampling settings where do_sample is false; where it is absent, a temperature that is given counts. */
function generationOf(json: JsonObject, path: string, config: JsonObject, configPath: string): GenerationDefaults {
  const textConfig = config.text_config
  const eosTokenIds = new Set([
    ...tokenIds(json.eos_token_id, path),
    ...tokenIds(config.eos_token_id, configPath),
    ...tokenIds(isJsonObject(textConfig) ? textConfig.eos_token_id : null, configPath),
  ])
  const sampling = samplingDefaults(
    samplingFields,
    (field) => json[field],
    (field, reason) => invalid(path, field, reason),
  )
  return { ...sampling, ...(json.do_sample === false ? { temperature: 0 } : {}), eosTokenIds: [...eosTokenIds] }
}

function tokenIds(value: Json | undefined, path: string): number[] {
  const ids = value === undefined || value === null ? [] : Array.isArray(value) ? value : [value]
  for (const id of ids)
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id > maxTokenId)
      throw invalid(path, 'eos_token_id', 'neither a token id nor a list of them')
  return ids as number[]
}

const invalid = (path: string, field: string, reason: string): InfernodeError =>
  new InfernodeError('CONFIG_INVALID', quoteForPeople(path), field, reason)

const corrupt = (path: string, field: string, reason: string): InfernodeError =>
  new InfernodeError('FILE_CORRUPT', quoteForPeople(path), field, reason)
