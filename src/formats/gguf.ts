/** GGUF checkpoints, single and split: headers become config, named tensors, tokenizer ranges and generation defaults. */
import { basename, dirname, join } from 'node:path'
import { InfernodeError } from '../errors.js'
import type {
  Checkpoint,
  CheckpointFile,
  GenerationDefaults,
  GgufArrayRange,
  GgufValue,
  TensorInfo,
  TokenizerSource,
} from './checkpoint.js'
import { exists, OpenFile, quoteForPeople, throwIfAborted, Turn } from './file.js'
import { samplingDefaults } from './generation.js'
import { readGgufHeader, type GgufEntry, type GgufHeader, type GgufTypeName } from './gguf-header.js'
import { canonicalName, ggufConventions, ggufModelType } from './gguf-names.js'

interface Shard extends GgufHeader {
  readonly file: CheckpointFile
}

/** What GGUF files hold beside models; they name the architecture of the model that they belong to. */
const otherTypes: ReadonlySet<string> = new Set(['adapter', 'imatrix', 'mmproj'])

/** Opens a GGUF file, or all files of a split one given any of them. Only headers are read. */
export async function openGguf(path: string, signal?: AbortSignal): Promise<Checkpoint> {
  const shards = await readShards(path, signal)
  const first = new Metadata(shards[0]!)
  const architecture = first.string('general.architecture')
  if (!architecture) throw first.corrupt('general.architecture', 'missing')
  const type = first.string('general.type')
  if (type !== undefined && otherTypes.has(type))
    throw first.unsupported('general.type', `a file of the type "${type}", not a model`)
  const tokenizer = tokenizerOf(first)
  return {
    format: 'gguf',
    path,
    name: first.string('general.name') ?? basename(path),
    files: shards.map(({ file }) => file),
    modelType: ggufModelType(architecture, first.integer(`${architecture}.expert_count`) ?? 0),
    config: { from: 'gguf', path: first.path, metadata: valuesOf(first.entries) },
    conventions: ggufConventions(architecture),
    tensors: await nameTensors(shards, architecture, signal),
    tokenizer,
    chatTemplate: first.string('tokenizer.chat_template') ?? null,
    generation: generationOf(first, tokenizer?.tokens.count ?? 2 ** 31),
  }
}

// Files

async function readShard(path: string, signal: AbortSignal | undefined): Promise<Shard> {
  return OpenFile.use(path, signal, async (file) => {
    const { path, bytes, mtimeMs } = file
    return { file: { path, bytes, mtimeMs }, ...(await readGgufHeader(file, signal)) }
  })
}

/** All files of a checkpoint, the first (which has the metadata) first. */
async function readShards(path: string, signal: AbortSignal | undefined): Promise<Shard[]> {
  const given = await readShard(path, signal)
  const metadata = new Metadata(given)
  const count = metadata.integer('split.count') ?? 1
  if (count <= 1) return [given]
  const index = metadata.integer('split.no') ?? 0
  if (index >= count) throw metadata.corrupt('split.no', `${index}, but split.count is ${count}`)
  const shards: Shard[] = []
  for (let i = 0; i < count; i++) {
    throwIfAborted(signal)
    shards.push(i === index ? given : await readOtherShard(metadata, index, i, count, signal))
  }
  const expected = metadata.integer('split.tensors.count')
  const found = shards.reduce((sum, shard) => sum + shard.tensors.length, 0)
  if (expected !== undefined && expected !== found)
    throw metadata.corrupt('split.tensors.count', `${expected} tensors, but the ${count} files list ${found}`)
  return shards
}

async function readOtherShard(
  given: Metadata,
  index: number,
  i: number,
  count: number,
  signal: AbortSignal | undefined,
): Promise<Shard> {
  const suffix = (n: number) => `-${String(n + 1).padStart(5, '0')}-of-${String(count).padStart(5, '0')}.gguf`
  const name = basename(given.path)
  if (!name.endsWith(suffix(index)))
    throw given.unsupported(
      'split.count',
      `file ${index + 1} of ${count}, whose name must end in ${suffix(index)} so that the others can be found`,
    )
  const path = join(dirname(given.path), name.slice(0, -suffix(index).length) + suffix(i))
  if (!(await exists(path)))
    throw new InfernodeError(
      'FILE_UNREADABLE',
      quoteForPeople(path),
      `it does not exist, but is file ${i + 1} of ${count} of the checkpoint`,
    )
  const shard = await readShard(path, signal)
  const metadata = new Metadata(shard)
  for (const [key, expected] of [
    ['split.no', i],
    ['split.count', count],
  ] as const) {
    const value = metadata.integer(key)
    if (value !== expected)
      throw metadata.corrupt(key, `${value ?? 'missing'}, expected ${expected}: the files do not belong together`)
  }
  return shard
}

// Contents

async function nameTensors(
  shards: readonly Shard[],
  architecture: string,
  signal: AbortSignal | undefined,
): Promise<Map<string, TensorInfo>> {
  const turn = new Turn(signal)
  const tensors = new Map<string, TensorInfo>()
  for (const [file, shard] of shards.entries())
    for (const { name: sourceName, type, shape, offset, bytes } of shard.tensors) {
      if (turn.over()) await turn.next()
      const name = canonicalName(architecture, sourceName)
      const other = tensors.get(name)
      if (other) {
        const where = `"${quoteForPeople(other.sourceName)}" in ${quoteForPeople(shards[other.file]!.file.path)}`
        const field = `tensor "${quoteForPeople(sourceName)}"`
        throw new InfernodeError('FILE_CORRUPT', quoteForPeople(shard.file.path), field, `the same tensor as ${where}`)
      }
      tensors.set(name, { name, sourceName, type, shape, file, offset, bytes })
    }
  return tensors
}

/** Keys of TokenizerSource that are byte ranges, so `metadata` leaves them out. */
const vocabularyKeys = ['tokens', 'scores', 'token_type', 'merges'].map((key) => `tokenizer.ggml.${key}`)

function tokenizerOf(metadata: Metadata): Extract<TokenizerSource, { from: 'gguf' }> | null {
  const tokens = metadata.array('tokenizer.ggml.tokens', ['string'])
  if (!tokens || tokens.count === 0) return null
  const perToken = (key: string, elements: readonly GgufTypeName[]): GgufArrayRange | null => {
    const range = metadata.array(key, elements)
    if (range && range.count !== tokens.count) throw metadata.corrupt(key, `${range.count} values for ${tokens.count} tokens`)
    return range
  }
  return {
    from: 'gguf',
    path: metadata.path,
    metadata: valuesOf([...metadata.entries].filter(([key]) => key.startsWith('tokenizer.') && !vocabularyKeys.includes(key))),
    tokens,
    scores: perToken('tokenizer.ggml.scores', ['f32']),
    types: perToken('tokenizer.ggml.token_type', ['i32', 'u32']),
    merges: metadata.array('tokenizer.ggml.merges', ['string']),
  }
}

/** Any of these ends a text: end of sequence, of turn, of message. */
const eosKeys = ['eos', 'eot', 'eom'].map((name) => `tokenizer.ggml.${name}_token_id`)

const samplingKeys = {
  temperature: 'general.sampling.temp',
  topK: 'general.sampling.top_k',
  topP: 'general.sampling.top_p',
  minP: 'general.sampling.min_p',
  repetitionPenalty: 'general.sampling.penalty_repeat',
}

function generationOf(metadata: Metadata, nTokens: number): GenerationDefaults {
  const sampling = samplingDefaults(
    samplingKeys,
    (key) => metadata.entries.get(key)?.value,
    (key, reason) => metadata.corrupt(key, reason),
  )
  // Some converters write 4294967295 where there is no such token.
  const eosTokenIds = new Set(eosKeys.flatMap((key) => metadata.integer(key) ?? []).filter((id) => id < nTokens))
  return { ...sampling, eosTokenIds: [...eosTokenIds] }
}

const valuesOf = (entries: Iterable<readonly [string, GgufEntry]>): Map<string, GgufValue> =>
  new Map([...entries].map(([key, { value }]) => [key, value]))

/** Typed access to one file's metadata; a value of another type than asked for is FILE_CORRUPT. */
class Metadata {
  readonly path: string
  readonly entries: ReadonlyMap<string, GgufEntry>

  constructor(shard: Shard) {
    this.path = shard.file.path
    this.entries = shard.metadata
  }

  string(key: string): string | undefined {
    const value = this.entries.get(key)?.value
    if (value === undefined || typeof value === 'string') return value
    if (typeof value === 'object' && 'offset' in value) throw this.unsupported(key, `a text of ${value.bytes} bytes`)
    throw this.corrupt(key, `expected a string, found a value of another type`)
  }

  number(key: string): number | undefined {
    const value = this.entries.get(key)?.value
    if (value === undefined) return undefined
    if (typeof value !== 'number' || !Number.isFinite(value)) throw this.corrupt(key, 'expected a finite number')
    return value
  }

  /** Zero or more. */
  integer(key: string): number | undefined {
    const value = this.number(key)
    if (value !== undefined && !(Number.isInteger(value) && value >= 0))
      throw this.corrupt(key, `expected an integer of 0 or more, found ${value}`)
    return value
  }

  array(key: string, elements: readonly GgufTypeName[]): GgufArrayRange | null {
    const entry = this.entries.get(key)
    if (!entry) return null
    if (!entry.array || !elements.includes(entry.array.elements))
      throw this.corrupt(key, `expected an array of ${elements.join(' or ')}`)
    return entry.array.range
  }

  corrupt(key: string, reason: string): InfernodeError {
    return new InfernodeError('FILE_CORRUPT', quoteForPeople(this.path), `metadata "${key}"`, reason)
  }

  unsupported(key: string, reason: string): InfernodeError {
    return new InfernodeError('FORMAT_UNSUPPORTED', quoteForPeople(this.path), `metadata "${key}"`, reason)
  }
}
