/** Writes checkpoints of real shapes with random weights of any type, so that speed can be measured without a download. */
import { fittingType, type TargetType } from '../convert/choose-types.js'
import { ggufArray, GgufWriter, type GgufWriterTensor, type GgufWriterValue, ggufValue } from '../formats/gguf-writer.js'
import { quantizeTensor } from '../quantize/encode.js'
import { rowBytes, type TensorTypeName, tensorTypes } from '../tensor-types.js'

/** What of a checkpoint's config decides how long its kernels take. */
export interface SyntheticShape {
  /** GGUF's name of the family. Default: llama. */
  architecture?: 'llama' | 'qwen3' | 'qwen3moe' | 'gemma3'
  dim: number
  nLayers: number
  nHeads: number
  nKvHeads: number
  /** Default: dim / nHeads. */
  headDim?: number
  /** Of each expert, where there are several. */
  ffnDim: number
  vocabSize: number
  contextLength: number
  /** Positions that sliding-window layers see (gemma3). */
  window?: number
  /** A mixture: each token is routed to nActive of nExperts experts (llama, qwen3moe). */
  nExperts?: number
  nActive?: number
}

/**
 * Writes a GGUF file; its matrices are of `type` (where blocks do not divide the rows, of what `quantize` takes instead), its norms
 * f32. The same bytes on every machine. Throws FILE_UNWRITABLE.
 */
export async function writeSynthetic(path: string, shape: SyntheticShape, type: TargetType): Promise<void> {
  const tensors = tensorsOf(shape, type)
  const writer = await GgufWriter.create(path, { metadata: new Map(metadataOf(shape)), tensors })
  const patterns = new Map<string, Promise<Pattern>>()
  try {
    for (const { name, type, shape } of tensors) {
      const width = shape.at(-1)!
      const norm = shape.length === 1
      const key = `${type} ${norm ? 'norm' : width}`
      if (!patterns.has(key)) patterns.set(key, norm ? onesPattern() : randomPattern(type, width))
      await writeRepeated(writer, name, await patterns.get(key)!, rowBytes(type, shape.reduce((a, b) => a * b, 1)))
    }
    await writer.finish()
  } catch (error) {
    await writer.abort()
    throw error
  }
}

/** Bytes that repeat, and the length of a block, at whose borders they may begin. */
interface Pattern {
  readonly bytes: Uint8Array
  readonly blockBytes: number
}

/** About so many values; the number of blocks is then made odd and no row length divides it. */
const patternValues = 1 << 20

async function onesPattern(): Promise<Pattern> {
  return { bytes: new Uint8Array(new Float32Array(4096).fill(1).buffer), blockBytes: 4 }
}

/**
 * Uniform values with a standard deviation of 1/√width, so that activations keep their size through the layers, encoded as the
 * type's own encoder does it: random enough for speed, quick enough to write.
 */
async function randomPattern(type: TensorTypeName, width: number): Promise<Pattern> {
  const { blockValues, blockBytes } = tensorTypes[type]
  const nBlocks = Math.floor(patternValues / blockValues) + 1 // odd, so that rows of a power of two begin at another place each
  const values = new Float32Array(nBlocks * blockValues)
  let x = (Math.imul(width, 2654435761) >>> 0) || 1
  const scale = Math.sqrt(3 / width) / 2 ** 31
  for (let i = 0; i < values.length; i++) {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    values[i] = x * scale
  }
  const { bytes } = await quantizeTensor({
    name: `random ${type}`,
    source: new Uint8Array(values.buffer),
    sourceType: 'f32',
    targetType: type,
    nRows: nBlocks,
    rowLength: blockValues,
  })
  return { bytes, blockBytes }
}

async function writeRepeated(writer: GgufWriter, name: string, { bytes, blockBytes }: Pattern, length: number): Promise<void> {
  let from = (hash(name) % (bytes.length / blockBytes)) * blockBytes
  for (let at = 0; at < length;) {
    const part = bytes.subarray(from, from + Math.min(length - at, bytes.length - from))
    await writer.write(name, part, at)
    at += part.length
    from = 0
  }
}

function tensorsOf(shape: SyntheticShape, type: TargetType): GgufWriterTensor[] {
  const { architecture = 'llama', dim, nLayers, nHeads, nKvHeads, headDim = dim / nHeads, ffnDim, vocabSize, nExperts } = shape
  const matrix = (name: string, ...dims: number[]): GgufWriterTensor => ({ name: `${name}.weight`, type: fittingType(type, dims.at(-1)!), shape: dims })
  const norm = (name: string, width = dim): GgufWriterTensor => ({ name: `${name}.weight`, type: 'f32', shape: [width] })
  const tensors = [matrix('token_embd', vocabSize, dim)]
  for (let i = 0; i < nLayers; i++) {
    const at = `blk.${i}`
    tensors.push(
      norm(`${at}.attn_norm`),
      matrix(`${at}.attn_q`, nHeads * headDim, dim),
      matrix(`${at}.attn_k`, nKvHeads * headDim, dim),
      matrix(`${at}.attn_v`, nKvHeads * headDim, dim),
      matrix(`${at}.attn_output`, dim, nHeads * headDim),
      norm(`${at}.ffn_norm`),
    )
    if (architecture !== 'llama') tensors.push(norm(`${at}.attn_q_norm`, headDim), norm(`${at}.attn_k_norm`, headDim))
    if (architecture === 'gemma3') tensors.push(norm(`${at}.post_attention_norm`), norm(`${at}.post_ffw_norm`))
    const experts = nExperts ? [nExperts] : []
    const suffix = nExperts ? '_exps' : ''
    tensors.push(
      matrix(`${at}.ffn_gate${suffix}`, ...experts, ffnDim, dim),
      matrix(`${at}.ffn_up${suffix}`, ...experts, ffnDim, dim),
      matrix(`${at}.ffn_down${suffix}`, ...experts, dim, ffnDim),
    )
    if (nExperts) tensors.push({ name: `${at}.ffn_gate_inp.weight`, type: 'f32', shape: [nExperts, dim] })
  }
  tensors.push(norm('output_norm'))
  if (architecture === 'llama') tensors.push(matrix('output', vocabSize, dim)) // the others use the embeddings again
  return tensors
}

function metadataOf(shape: SyntheticShape): [string, GgufWriterValue][] {
  const { architecture = 'llama', dim, nLayers, nHeads, nKvHeads, headDim = dim / nHeads, ffnDim, vocabSize, contextLength } = shape
  const u32 = (key: string, value: number): [string, GgufWriterValue] => [`${architecture}.${key}`, ggufValue('u32', value)]
  const nFixed = 3 + 256
  const tokens = vocabularyOf(vocabSize)
  return [
    ['general.architecture', ggufValue('string', architecture)],
    ['general.name', ggufValue('string', 'synthetic')],
    u32('context_length', contextLength),
    u32('embedding_length', dim),
    u32('block_count', nLayers),
    u32('feed_forward_length', ffnDim),
    u32('attention.head_count', nHeads),
    u32('attention.head_count_kv', nKvHeads),
    u32('attention.key_length', headDim),
    u32('attention.value_length', headDim),
    [`${architecture}.attention.layer_norm_rms_epsilon`, ggufValue('f32', 1e-5)],
    u32('rope.dimension_count', headDim),
    [`${architecture}.rope.freq_base`, ggufValue('f32', 10000)],
    u32('vocab_size', vocabSize),
    ...(shape.window ? [u32('attention.sliding_window', shape.window)] : []),
    ...(shape.nExperts ? [u32('expert_count', shape.nExperts), u32('expert_used_count', shape.nActive ?? 1)] : []),
    ...(architecture === 'qwen3moe' ? [u32('expert_feed_forward_length', ffnDim)] : []),
    ['tokenizer.ggml.model', ggufValue('string', 'llama')],
    ['tokenizer.ggml.tokens', ggufArray('string', tokens)],
    ['tokenizer.ggml.scores', ggufArray('f32', tokens.map((_, i) => (i < nFixed ? 0 : nFixed - i)))],
    ['tokenizer.ggml.token_type', ggufArray('i32', tokens.map((_, i) => (i === 0 ? 2 : i < 3 ? 3 : i < nFixed ? 6 : 1)))],
    ['tokenizer.ggml.bos_token_id', ggufValue('u32', 1)],
    ['tokenizer.ggml.eos_token_id', ggufValue('u32', 2)],
    ['tokenizer.ggml.unknown_token_id', ggufValue('u32', 0)],
    ['tokenizer.ggml.add_bos_token', ggufValue('bool', true)],
  ]
}

/** Three special tokens, the bytes, letters, and then words of letters. */
function vocabularyOf(size: number): string[] {
  const tokens = ['<unk>', '<s>', '</s>']
  for (let byte = 0; byte < 256; byte++) tokens.push(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`)
  const letters = '▁etaoinshrdlcumwfgypbvkjxqz'
  for (const letter of letters) tokens.push(letter)
  for (let i = 0; tokens.length < size; i++) {
    let word = ''
    for (let n = i; n >= 0; n = Math.floor(n / 26) - 1) word = letters[1 + (n % 26)] + word
    tokens.push(`▁${word}`)
  }
  return tokens.slice(0, size)
}

function hash(text: string): number {
  let h = 2166136261
  for (const char of text) h = Math.imul(h ^ char.codePointAt(0)!, 16777619)
  return h >>> 0
}
