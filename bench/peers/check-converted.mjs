/**
 * Hugging Face folders of every family, converted to GGUF, in llama.cpp: the largest difference of its logits from those of
 * transformers. `node bench/peers/check-converted.mjs [folder of goldens]`; default: ../shared/goldens. Each file in a process of
 * its own, as llama.cpp ends the process where it does not like one. Large by design are mistral and phi3 (llama.cpp has no windows
 * there), llama_rope_yarn (it has one pair of betas only) and smollm3 (other layers without positions).
 */
import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { installPeers } from './install.mjs'

const here = dirname(fileURLToPath(import.meta.url))
const families = [
  'llama',
  'llama_bias_tied',
  'llama_rope_linear',
  'llama_rope_llama3',
  'llama_rope_yarn',
  'mistral',
  'mixtral',
  'qwen2',
  'qwen3',
  'qwen3_moe',
  'gpt2',
  'phi3',
  'phi3_longrope',
  'gemma',
  'gemma2',
  'gemma3_text',
  'smollm3',
]

if (process.argv[2] === '--one') await compare(...process.argv.slice(3))
else {
  installPeers()
  const goldens = process.argv[2] ?? join(here, '../../../shared/goldens')
  const rows = families.filter((name) => existsSync(join(goldens, name))).map((name) => checkFamily(goldens, name))
  console.table(rows)
}

function checkFamily(goldens, name) {
  const args = [fileURLToPath(import.meta.url), '--one', join(goldens, name)]
  try {
    return { name, ...JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim().split('\n').at(-1)) }
  } catch (error) {
    return { name, failed: error.message.split('\n')[0] }
  }
}

async function compare(golden) {
  const { convert } = await import('../../dist/index.js')
  const { getLlama, LlamaLogLevel } = await import('node-llama-cpp')
  const folder = mkdtempSync(join(tmpdir(), 'infernode-'))
  try {
    const source = join(folder, 'tiny')
    mkdirSync(source)
    for (const file of ['config.json', 'model.safetensors']) copyFileSync(join(golden, file), join(source, file))
    writeFileSync(join(source, 'tokenizer.json'), JSON.stringify(tokenizer()))
    const path = join(folder, 'model.gguf')
    await convert(source, path)
    const tensors = readTensors(join(golden, 'golden.safetensors'))
    const tokens = tensors.get('input_ids').shape[1]
    const ids = tensors.get('input_ids').data.slice(0, tokens)
    const llama = await getLlama({ gpu: false, build: 'never', maxThreads: 2, logLevel: LlamaLogLevel.error })
    const model = await llama.loadModel({ modelPath: path, gpuLayers: 0 })
    const context = await model.createContext({ contextSize: 64, batchSize: 64, threads: 2, flashAttention: false })
    const outputs = await context.getSequence().controlledEvaluate(ids.map((id) => [id, { generateNext: { logits: true } }]))
    const { shape, data } = tensors.get('logits')
    let [difference, size] = [0, 0]
    outputs.forEach(({ next }, t) => {
      for (const [id, value] of next.logits) {
        const expected = data[t * shape[2] + id]
        difference = Math.max(difference, Math.abs(value - expected))
        size = Math.max(size, Math.abs(expected))
      }
    })
    console.log(JSON.stringify({ tokens, 'largest difference': Number(difference.toFixed(4)), 'largest logit': Number(size.toFixed(2)) }))
  } finally {
    rmSync(folder, { recursive: true })
  }
  process.exit()
}

/** As many pieces as the goldens have embeddings. */
function tokenizer() {
  const pieces = [...Array.from({ length: 94 }, (_, i) => String.fromCharCode(33 + i)), 'Ġ', 'Ċ']
  const bytes = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true }
  const vocab = Object.fromEntries(pieces.map((piece, id) => [piece, id]))
  const model = { type: 'BPE', fuse_unk: false, byte_fallback: false, ignore_merges: false, vocab, merges: [] }
  return { version: '1.0', added_tokens: [], normalizer: null, pre_tokenizer: bytes, post_processor: null, decoder: bytes, model }
}

function readTensors(path) {
  const bytes = readFileSync(path)
  const start = 8 + Number(bytes.readBigUInt64LE(0))
  const header = JSON.parse(bytes.toString('utf8', 8, start))
  const read = {
    F32: [4, (at) => bytes.readFloatLE(at)],
    I64: [8, (at) => Number(bytes.readBigInt64LE(at))],
  }
  const tensors = Object.entries(header).filter(([name]) => name === 'input_ids' || name === 'logits')
  return new Map(
    tensors.map(([name, { dtype, shape, data_offsets: [begin, end] }]) => {
      const [size, value] = read[dtype]
      return [name, { shape, data: Array.from({ length: (end - begin) / size }, (_, i) => value(start + begin + size * i)) }]
    }),
  )
}
