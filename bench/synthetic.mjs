/** Writes llama and mixtral checkpoints of real shapes with random weights, so that speed can be measured without a download. */
import { createWriteStream, existsSync, mkdirSync, renameSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { once } from 'node:events'

/** TinyLlama's shape: 1.1 billion parameters. */
export const shape1B = { dim: 2048, nLayers: 22, nHeads: 32, nKvHeads: 4, ffnDim: 5632, vocabSize: 32000, contextLength: 2048 }

/** A small Mixtral: each token is routed to `nActive` of `nExperts` experts. 8 layers, 420 million parameters. */
export const shapeMixture = {
  ...{ dim: 1024, nLayers: 8, nHeads: 16, nKvHeads: 4, ffnDim: 2048, vocabSize: 8192, contextLength: 2048 },
  ...{ nExperts: 8, nActive: 2 },
}

const types = {
  f32: { id: 0, blockValues: 1, blockBytes: 4 },
  q8_0: { id: 8, blockValues: 32, blockBytes: 34 },
  q4_k: { id: 12, blockValues: 256, blockBytes: 144 },
}

/**
 * The path of a GGUF file of this shape and weight type ('q8_0' or 'q4_k'), written on the first call into `folder`
 * (default: infernode-bench in the system's temporary folder) and reused after that.
 */
export async function syntheticModel(type, shape = shape1B, folder = join(tmpdir(), 'infernode-bench')) {
  const { dim, nLayers, ffnDim, vocabSize, nExperts, nActive } = shape
  const experts = nExperts ? `-${nActive}of${nExperts}` : ''
  const path = join(folder, `llama-${dim}x${nLayers}-ffn${ffnDim}${experts}-v${vocabSize}-${type}-1.gguf`)
  if (existsSync(path)) return path
  mkdirSync(folder, { recursive: true })
  const unfinished = `${path}.${process.pid}`
  const tensors = tensorsOf(shape, type)
  const out = createWriteStream(unfinished, { highWaterMark: 1 << 24 })
  const write = async (bytes) => {
    if (!out.write(bytes)) await once(out, 'drain')
  }
  const header = encodeHeader(metadataOf(shape), tensors)
  await write(Buffer.concat([header, Buffer.alloc(padding(header.length))]))
  for (const tensor of tensors) {
    for (const chunk of tensor.chunks()) await write(chunk)
    await write(Buffer.alloc(padding(tensor.bytes)))
  }
  out.end()
  await once(out, 'close')
  renameSync(unfinished, path) // so that a run that was interrupted leaves no half file under the real name
  return path
}

const alignment = 32
const padding = (length) => (alignment - (length % alignment)) % alignment

function tensorsOf({ dim, nLayers, nHeads, nKvHeads, ffnDim, vocabSize, nExperts }, type) {
  const kvDim = (dim / nHeads) * nKvHeads
  const tensors = [matrix('token_embd.weight', dim, vocabSize, type)]
  for (let i = 0; i < nLayers; i++) {
    const at = (name) => `blk.${i}.${name}.weight`
    tensors.push(
      ones(at('attn_norm'), dim),
      matrix(at('attn_q'), dim, dim, type),
      matrix(at('attn_k'), dim, kvDim, type),
      matrix(at('attn_v'), dim, kvDim, type),
      matrix(at('attn_output'), dim, dim, type),
      ones(at('ffn_norm'), dim),
    )
    const stems = [['gate', dim, ffnDim], ['up', dim, ffnDim], ['down', ffnDim, dim]]
    for (const [stem, cols, rows] of stems) {
      if (nExperts) tensors.push(matrix(at(`ffn_${stem}_exps`), cols, rows, type, nExperts))
      else tensors.push(matrix(at(`ffn_${stem}`), cols, rows, type))
    }
    if (nExperts) tensors.push(matrix(at('ffn_gate_inp'), dim, nExperts, 'f32'))
  }
  tensors.push(ones('output_norm.weight', dim), matrix('output.weight', dim, vocabSize, type))
  return tensors
}

function ones(name, length) {
  return {
    name,
    dims: [length],
    type: types.f32,
    bytes: 4 * length,
    *chunks() {
      yield Buffer.from(new Float32Array(length).fill(1).buffer)
    },
  }
}

/**
 * A matrix of `rows` rows of `cols` values with a standard deviation of 1/√cols, so that activations keep their size through
 * the layers; `stacked`: so many of them, one after another. Blocks repeat with a period that no row length divides: random enough for speed, quick enough to write.
 */
function matrix(name, cols, rows, typeName, stacked) {
  const type = types[typeName]
  const nBlocks = (cols / type.blockValues) * rows * (stacked ?? 1)
  return {
    name,
    dims: stacked ? [cols, rows, stacked] : [cols, rows],
    type,
    bytes: nBlocks * type.blockBytes,
    *chunks() {
      const blocks = blocksFor(typeName, cols)
      let at = hash(name) % period
      for (let left = nBlocks; left > 0;) {
        const count = Math.min(left, period - at)
        yield blocks.subarray(at * type.blockBytes, (at + count) * type.blockBytes)
        left -= count
        at = 0
      }
    },
  }
}

const period = 40_009 // a prime
const made = new Map()

function blocksFor(typeName, cols) {
  const key = `${typeName} ${cols}`
  if (!made.has(key)) made.set(key, makers[typeName](cols))
  return made.get(key)
}

const makers = { q8_0: q8Blocks, q4_k: q4kBlocks, f32: floats }

/** Uniform with the standard deviation 1/√cols. */
function floats(cols) {
  const words = new Uint32Array(Uint8Array.from(randomBytes(period * 4, cols)).buffer)
  return Buffer.from(Float32Array.from(words, (word) => ((word / 2 ** 31 - 1) * Math.sqrt(3)) / Math.sqrt(cols)).buffer)
}

/** Per block an f16 scale and 32 int8, uniform in ±127: their standard deviation is 73. */
function q8Blocks(cols) {
  const bytes = randomBytes(period * 34, cols)
  const scale = toHalf(1 / (Math.sqrt(cols) * 73))
  for (let b = 0; b < period; b++) {
    bytes.writeUInt16LE(scale, b * 34)
    for (let i = 2; i < 34; i++) if (bytes[b * 34 + i] === 128) bytes[b * 34 + i] = 0 // -128 is no value of this format
  }
  return bytes
}

/**
 * Per block d, dmin, 8 sub-scales and 8 sub-mins of 6 bits, 256 values of 4 bits: w = d·scale·q - dmin·min. With min = scale
 * and dmin = 7.5·d the values are centred: ±7.5·d·scale with a standard deviation of 4.6·d·scale.
 */
function q4kBlocks(cols) {
  const bytes = randomBytes(period * 144, cols)
  const d = 1 / (Math.sqrt(cols) * 4.6 * 40)
  for (let b = 0; b < period; b++) {
    const at = b * 144
    const scales = Array.from({ length: 8 }, (_, i) => 20 + (bytes[at + 4 + i] % 40))
    bytes.writeUInt16LE(toHalf(d), at)
    bytes.writeUInt16LE(toHalf(7.5 * d), at + 2)
    for (let i = 0; i < 4; i++) {
      const [low, high] = [scales[i], scales[i + 4]]
      bytes[at + 4 + i] = low | ((high >> 4) << 6)
      bytes[at + 8 + i] = low | ((high >> 4) << 6)
      bytes[at + 12 + i] = (high & 15) | ((high & 15) << 4)
    }
  }
  return bytes
}

/** Bytes of an xorshift generator: the same file on every machine. */
function randomBytes(length, seed) {
  const words = new Uint32Array(Math.ceil(length / 4))
  let x = (seed * 2654435761) >>> 0 || 1
  for (let i = 0; i < words.length; i++) {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    words[i] = x
  }
  return Buffer.from(words.buffer, 0, length)
}

function hash(text) {
  let h = 2166136261
  for (const char of text) h = Math.imul(h ^ char.codePointAt(0), 16777619)
  return h >>> 0
}

/** A small positive number as f16 bits, rounded; halves below 2⁻¹⁴ are subnormal. */
function toHalf(value) {
  const exponent = Math.max(Math.floor(Math.log2(value)), -14)
  const fraction = Math.round((value / 2 ** exponent) * 1024)
  return value < 2 ** -14 ? fraction : ((exponent + 15) << 10) + fraction - 1024
}

function metadataOf({ dim, nLayers, nHeads, nKvHeads, ffnDim, vocabSize, contextLength, nExperts, nActive }) {
  const tokens = ['<unk>', '<s>', '</s>']
  for (let byte = 0; byte < 256; byte++) tokens.push(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`)
  const letters = '▁etaoinshrdlcumwfgypbvkjxqz'
  for (const letter of letters) tokens.push(letter)
  for (let i = 0; tokens.length < vocabSize; i++) {
    let word = ''
    for (let n = i; n >= 0; n = Math.floor(n / 26) - 1) word = letters[1 + (n % 26)] + word
    tokens.push(`▁${word}`)
  }
  const nFixed = 3 + 256
  return [
    ['general.architecture', string('llama')],
    ['general.name', string('synthetic')],
    ['llama.context_length', u32(contextLength)],
    ['llama.embedding_length', u32(dim)],
    ['llama.block_count', u32(nLayers)],
    ['llama.feed_forward_length', u32(ffnDim)],
    ['llama.attention.head_count', u32(nHeads)],
    ['llama.attention.head_count_kv', u32(nKvHeads)],
    ['llama.attention.layer_norm_rms_epsilon', f32(1e-5)],
    ['llama.rope.dimension_count', u32(dim / nHeads)],
    ['llama.rope.freq_base', f32(10000)],
    ['llama.vocab_size', u32(vocabSize)],
    ...(nExperts ? [['llama.expert_count', u32(nExperts)], ['llama.expert_used_count', u32(nActive)]] : []),
    ['tokenizer.ggml.model', string('llama')],
    ['tokenizer.ggml.tokens', array(8, tokens.map(text))],
    [
      'tokenizer.ggml.scores',
      array(
        6,
        tokens.map((_, i) => f32(i < nFixed ? 0 : nFixed - i).bytes),
      ),
    ],
    [
      'tokenizer.ggml.token_type',
      array(
        5,
        tokens.map((_, i) => u32(i === 0 ? 2 : i < 3 ? 3 : i < nFixed ? 6 : 1).bytes),
      ),
    ],
    ['tokenizer.ggml.bos_token_id', u32(1)],
    ['tokenizer.ggml.eos_token_id', u32(2)],
    ['tokenizer.ggml.unknown_token_id', u32(0)],
    ['tokenizer.ggml.add_bos_token', { type: 7, bytes: Buffer.from([1]) }],
  ]
}

function encodeHeader(metadata, tensors) {
  const parts = [Buffer.from('GGUF'), u32(3).bytes, u64(tensors.length), u64(metadata.length)]
  for (const [key, { type, bytes }] of metadata) parts.push(text(key), u32(type).bytes, bytes)
  let offset = 0
  for (const { name, dims, type, bytes } of tensors) {
    parts.push(text(name), u32(dims.length).bytes, ...dims.map(u64), u32(type.id).bytes, u64(offset))
    offset += bytes + padding(bytes)
  }
  return Buffer.concat(parts)
}

function u32(value) {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return { type: 4, bytes }
}
function f32(value) {
  const bytes = Buffer.alloc(4)
  bytes.writeFloatLE(value)
  return { type: 6, bytes }
}
function u64(value) {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}
function text(value) {
  const utf8 = Buffer.from(value)
  return Buffer.concat([u64(utf8.length), utf8])
}
const string = (value) => ({ type: 8, bytes: text(value) })
const array = (elementType, elements) => ({
  type: 9,
  bytes: Buffer.concat([u32(elementType).bytes, u64(elements.length), ...elements]),
})
