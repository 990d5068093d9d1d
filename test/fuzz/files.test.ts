/**
 * Files changed at random, read by everything that reads them: what comes is a result or an InfernodeError, soon, and without much
 * memory. A short run in every test; `npm run fuzz` sets FUZZ_SECONDS (per format) and FUZZ_SEED (printed, so that a failure can be
 * had again).
 */
import { readFileSync } from 'node:fs'
import { copyFile, mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { renderChat } from '../../src/chat/render.js'
import { type ErrorCode, errorCodes, InfernodeError } from '../../src/errors.js'
import { openCheckpoint } from '../../src/formats/index.js'
import { inspect } from '../../src/index.js'
import { Tokenizer } from '../../src/tokenizer/tokenizer.js'
import { turnsTemplate } from '../support/chat-checkpoint.js'
import { fixture, temporaryFolder } from '../support/checkpoints.js'
import { array, value, writeGguf } from '../support/gguf-writer.js'
import { makeTemplate, mutateBytes, mutateJson, Random } from '../support/mutation.js'

const seconds = Number(process.env.FUZZ_SECONDS ?? 1)
const seed = Number(process.env.FUZZ_SEED ?? 20_261_123)
const timeout = 1000 * seconds + 120_000
/** A hang, whatever else the machine is doing. */
const hangMs = 20_000
/** Files here are below half a megabyte. */
const mostBytes = 400 << 20

const made = join(import.meta.dirname, '../fixtures/tokenizers/made')

/** Runs `one` with new random numbers until the time is over. `failing` says how to have a failure again. */
async function fuzz(name: string, one: (random: Random) => Promise<unknown>): Promise<void> {
  const outcomes = new Map<string, number>()
  const before = process.memoryUsage.rss()
  const end = performance.now() + 1000 * seconds
  for (let run = 0; run === 0 || performance.now() < end; run++) {
    const failing = `${name}: FUZZ_SEED=${seed + run} FUZZ_SECONDS=0`
    const start = performance.now()
    const outcome = await one(new Random(seed + run)).then(
      () => 'fine',
      (cause: unknown) => {
        if (!(cause instanceof InfernodeError)) throw Object.assign(cause as Error, { message: `${failing}: ${(cause as Error).message}` })
        expect(errorCodes, failing).toContain(cause.code)
        expect(['INTERNAL', 'PLAN_INVALID'] as ErrorCode[], `${failing}: ${cause.message}`).not.toContain(cause.code)
        return cause.code
      },
    )
    expect(performance.now() - start, failing).toBeLessThan(hangMs)
    expect(process.memoryUsage.rss() - before, `${failing}: bytes`).toBeLessThan(mostBytes)
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
  }
  console.log(`${name}, seed ${seed}: ${[...outcomes].map(([code, n]) => `${n} ${code}`).join(', ')}`)
}

/** A copy of the golden llama, in which one file is changed. */
async function goldenFolder(): Promise<string> {
  const folder = join(await temporaryFolder(), 'llama')
  await mkdir(folder)
  for (const name of ['config.json', 'model.safetensors']) await copyFile(fixture(`llama/${name}`), join(folder, name))
  await copyFile(join(made, 'gpt2/tokenizer.json'), join(folder, 'tokenizer.json'))
  await writeFile(join(folder, 'tokenizer_config.json'), JSON.stringify({ tokenizer_class: 'LlamaTokenizer', bos_token: '<|im_start|>', pad_token: { content: '<|im_end|>' } }))
  await writeFile(join(folder, 'generation_config.json'), JSON.stringify({ eos_token_id: [1, 2], temperature: 0.5, top_k: 3, do_sample: true }))
  return folder
}

const small = (): Buffer => {
  const strings = ['<unk>', '<s>', '</s>', 'a', 'b', 'ab', '▁', '▁a']
  return writeGguf({
    metadata: {
      'general.architecture': value('string', 'llama'),
      'general.alignment': value('u32', 32),
      'llama.block_count': value('u32', 1),
      'llama.embedding_length': value('u32', 32),
      'llama.feed_forward_length': value('u32', 32),
      'llama.attention.head_count': value('u32', 2),
      'llama.context_length': value('u32', 64),
      'llama.attention.layer_norm_rms_epsilon': value('f32', 1e-5),
      'tokenizer.ggml.model': value('string', 'llama'),
      'tokenizer.ggml.tokens': array('string', strings),
      'tokenizer.ggml.scores': array('f32', strings.map((_, i) => -i)),
      'tokenizer.ggml.token_type': array('i32', [2, 3, 3, 1, 1, 1, 1, 1]),
      'tokenizer.ggml.bos_token_id': value('u32', 1),
      'tokenizer.ggml.add_bos_token': value('bool', true),
      'tokenizer.chat_template': value('string', turnsTemplate),
    },
    tensors: [
      { name: 'token_embd.weight', dims: [32, 8] },
      { name: 'output_norm.weight', dims: [32] },
      { name: 'blk.0.attn_norm.weight', dims: [32] },
      { name: 'blk.0.ffn_norm.weight', dims: [32] },
      ...['attn_q', 'attn_k', 'attn_v', 'attn_output', 'ffn_gate', 'ffn_up', 'ffn_down'].map((name) => ({ name: `blk.0.${name}.weight`, dims: [32, 32] })),
    ],
  }).bytes
}

async function useTokenizer(path: string): Promise<void> {
  const { tokenizer: source } = await openCheckpoint(path)
  if (!source) return
  const tokenizer = await Tokenizer.load(source)
  const [encoding] = await tokenizer.encodeBatch(['Once upon a time, é漢🦙 <s> 12345\n', ['a', 'b']], { truncation: { maxLength: 20 } })
  await tokenizer.decode(encoding!.ids)
}

describe('changed at random', () => {
  it('a GGUF file opens, with its plan and its tokenizer, or is refused', { timeout }, async () => {
    const path = join(await temporaryFolder(), 'model.gguf')
    const bytes = small()
    await writeFile(path, bytes)
    await inspect(path)
    await fuzz('GGUF', async (random) => {
      await writeFile(path, mutateBytes(bytes, 1500, random))
      await useTokenizer(path)
      await inspect(path)
    })
  })

  it('a safetensors file opens, with its plan, or is refused', { timeout }, async () => {
    const folder = await goldenFolder()
    const path = join(folder, 'model.safetensors')
    const bytes = await readFile(path)
    const length = Number(bytes.readBigUInt64LE())
    const header = bytes.subarray(8, 8 + length).toString()
    await inspect(folder)
    await fuzz('safetensors', async (random) => {
      if (random.below(2)) await writeFile(path, mutateBytes(bytes, 8 + length, random))
      else {
        const changed = Buffer.from(mutateJson(header, random))
        const size = Buffer.alloc(8)
        size.writeBigUInt64LE(BigInt(changed.length))
        await writeFile(path, Buffer.concat([size, changed, bytes.subarray(8 + length)]))
      }
      await inspect(folder)
    })
  })

  for (const name of ['config.json', 'tokenizer_config.json', 'generation_config.json'])
    it(`${name} is taken, or the folder is refused`, { timeout }, async () => {
      const folder = await goldenFolder()
      const text = await readFile(join(folder, name), 'utf8')
      await fuzz(name, async (random) => {
        await writeFile(join(folder, name), mutateJson(text, random))
        await inspect(folder)
        await useTokenizer(folder)
      })
    })

  it('the index of shards is taken, or the folder is refused', { timeout }, async () => {
    const folder = await goldenFolder()
    const bytes = await readFile(join(folder, 'model.safetensors'))
    const header = JSON.parse(bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE())).toString()) as Record<string, unknown>
    const shard = 'model-00001-of-00001.safetensors'
    await rename(join(folder, 'model.safetensors'), join(folder, shard))
    const names = Object.keys(header).filter((key) => key !== '__metadata__')
    const index = JSON.stringify({ metadata: { total_size: 1 }, weight_map: Object.fromEntries(names.map((key) => [key, shard])) })
    const path = join(folder, 'model.safetensors.index.json')
    await writeFile(path, index)
    await inspect(folder)
    await fuzz('index', async (random) => {
      await writeFile(path, mutateJson(index, random))
      await inspect(folder)
    })
  })

  it('tokenizer.json of every kind is taken and works, or is refused', { timeout: 2 * timeout }, async () => {
    const folder = await temporaryFolder()
    const path = join(folder, 'tokenizer.json')
    const kinds = ['gpt2', 'llama3', 'deepseek-v3', 'llama2-bpe-fallback', 'gemma-bpe-fallback', 'wordpiece-uncased', 'unigram-bytes']
    const texts = kinds.map((kind) => readFileSync(join(made, kind, 'tokenizer.json'), 'utf8'))
    await fuzz('tokenizer.json', async (random) => {
      await writeFile(path, mutateJson(random.of(texts), random))
      const tokenizer = await Tokenizer.load({ from: 'tokenizer.json', path, config: {} })
      const [encoding] = await tokenizer.encodeBatch(['Once upon a time, é漢🦙 <s> 12345\n', ['a', 'b']], { truncation: { maxLength: 20 } })
      await tokenizer.decode(encoding!.ids)
    })
  })

  it('a chat template renders, or is refused in time', { timeout: timeout + 60_000 }, async () => {
    const messages = [
      { role: 'user', content: 'Why is the sky blue? '.repeat(20) },
      { role: 'assistant', content: [{ type: 'text', text: 'It scatters.' }] },
    ]
    await fuzz('template', async (random) => {
      const [text] = await renderChat(makeTemplate(turnsTemplate, random), { messages, bos_token: '<s>', eos_token: '</s>', add_generation_prompt: true })
      expect(text!.length).toBeLessThan(50e6)
    })
  })
})
