import { cp, mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openCheckpoint } from '../../src/formats/index.js'
import { bytesOf, fixture, temporaryFolder, testModel, writeSafetensors } from '../support/checkpoints.js'

const vector = (start: number) => ({ dtype: 'F32', shape: [2], data_offsets: [start, start + 8] })

/** A folder with these files; objects become JSON. */
async function folderOf(files: Record<string, unknown>): Promise<string> {
  const folder = await temporaryFolder()
  for (const [name, content] of Object.entries(files))
    await writeFile(
      join(folder, name),
      typeof content === 'string' || content instanceof Uint8Array ? content : JSON.stringify(content),
    )
  return folder
}

const llama = {
  'config.json': { model_type: 'llama' },
  'model.safetensors': writeSafetensors({ 'model.norm.weight': vector(0) }, 8),
}

describe('Hugging Face folders of tiny models', () => {
  it('opens llama', async () => {
    const path = fixture('llama')
    const checkpoint = await openCheckpoint(path)
    expect(checkpoint).toMatchObject({
      format: 'safetensors',
      path,
      name: 'llama',
      modelType: 'llama',
      conventions: { ropePairing: 'half' },
      config: { from: 'hf', path: join(path, 'config.json'), json: { hidden_size: 32 } },
      tokenizer: null,
      chatTemplate: null,
      generation: { eosTokenIds: [2] },
    })
    expect(checkpoint.files.map((file) => basename(file.path))).toEqual(['model.safetensors'])
    expect(checkpoint.tensors.size).toBe(21)
    const tensor = checkpoint.tensors.get('model.layers.1.mlp.down_proj.weight')!
    expect(tensor).toMatchObject({ type: 'f32', shape: [32, 36], bytes: 4608, file: 0 })
    const bytes = await bytesOf(checkpoint, tensor)
    const values = Array.from({ length: 32 * 36 }, (_, i) => bytes.readFloatLE(4 * i))
    expect(Math.max(...values.map(Math.abs))).toBeLessThan(10)
    expect(new Set(values).size).toBeGreaterThan(1000)
    expect([...checkpoint.tensors.values()].some(({ add }) => add !== undefined)).toBe(false)
  })

  it('adds 1 to every norm of gemma3_text and to nothing else', async () => {
    const { tensors, conventions } = await openCheckpoint(fixture('gemma3_text'))
    expect(conventions).toEqual({ ropePairing: 'half' })
    for (const { name, add, shape } of tensors.values()) {
      expect(add, name).toBe(/norm\.weight$/.test(name) ? 1 : undefined)
      if (add) expect(shape.length).toBe(1)
    }
    expect(tensors.get('model.norm.weight')?.add).toBe(1)
  })
})

describe('all-MiniLM-L6-v2', () => {
  const path = testModel('minilm', 'a real Hugging Face folder in bf16')
  it.skipIf(!path)('opens', async () => {
    const checkpoint = await openCheckpoint(path!)
    expect(checkpoint.modelType).toBe('bert')
    expect([...checkpoint.tensors.values()].filter(({ type }) => type === 'bf16').length).toBeGreaterThan(90)
    expect(checkpoint.tokenizer).toMatchObject({ from: 'tokenizer.json', path: join(path!, 'tokenizer.json') })
  })
})

describe('a Hugging Face folder', () => {
  it('adds 1 to the norms of older Gemmas too', async () => {
    for (const modelType of ['gemma', 'gemma2']) {
      const folder = await folderOf({ ...llama, 'config.json': { model_type: modelType } })
      expect((await openCheckpoint(folder)).tensors.get('model.norm.weight')?.add).toBe(1)
    }
  })

  it('of a model type without a row in the table opens without conventions', async () => {
    const folder = await folderOf({ ...llama, 'config.json': { model_type: 'bert' } })
    expect(await openCheckpoint(folder)).toMatchObject({ modelType: 'bert', conventions: null })
  })

  it('maps the names of multimodal gemma3, and leaves its vision tower alone', async () => {
    for (const [prefix, head] of [
      ['language_model.model.', 'language_model.lm_head.weight'],
      ['model.language_model.', 'lm_head.weight'],
    ]) {
      const header = {
        [`${prefix}layers.0.self_attn.q_norm.weight`]: vector(0),
        [`${prefix}norm.weight`]: vector(8),
        'vision_tower.vision_model.post_layernorm.weight': vector(16),
        [head!]: vector(24),
      }
      const config = {
        model_type: 'gemma3',
        eos_token_id: [1, 106],
        text_config: { model_type: 'gemma3_text', eos_token_id: 1 },
      }
      const folder = await folderOf({ 'config.json': config, 'model.safetensors': writeSafetensors(header, 32) })
      const { tensors, generation } = await openCheckpoint(folder)
      expect([...tensors.values()].map(({ name, add }) => [name, add])).toEqual([
        ['model.layers.0.self_attn.q_norm.weight', 1],
        ['model.norm.weight', 1],
        ['vision_tower.vision_model.post_layernorm.weight', undefined],
        ['lm_head.weight', undefined],
      ])
      expect(generation.eosTokenIds).toEqual([1, 106])
    }
  })

  it('reads generation_config.json', async () => {
    const given = {
      temperature: 0.6,
      top_k: 50,
      top_p: 0.9,
      min_p: null,
      repetition_penalty: 1.1,
      eos_token_id: [5, 6],
      do_sample: true,
    }
    const open = async (generation: unknown, config: object = {}) =>
      (
        await openCheckpoint(
          await folderOf({ ...llama, 'config.json': { model_type: 'llama', ...config }, 'generation_config.json': generation }),
        )
      ).generation
    expect(await open(given, { eos_token_id: 6 })).toEqual({
      temperature: 0.6,
      topK: 50,
      topP: 0.9,
      repetitionPenalty: 1.1,
      eosTokenIds: [5, 6],
    })
    expect(await open({ ...given, do_sample: false })).toMatchObject({ temperature: 0 })
    expect(await open({}, { eos_token_id: null })).toEqual({ eosTokenIds: [] })
    expect(await open({ top_k: -1 })).toEqual({ topK: 0, eosTokenIds: [] })
    for (const bad of [
      { temperature: '1' },
      { top_k: [1] },
      { eos_token_id: '2' },
      { eos_token_id: [1.5] },
      { eos_token_id: -1 },
      { eos_token_id: 2 ** 31 },
      { temperature: -0.1 },
      { top_k: 1.5 },
      { top_p: 0 },
      { min_p: 2 },
      { repetition_penalty: 0 },
      '{ "top_p": NaN }',
    ])
      await expect(open(bad)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  })

  it('finds the chat template where transformers finds it', async () => {
    const open = async (files: Record<string, unknown>) =>
      (await openCheckpoint(await folderOf({ ...llama, ...files }))).chatTemplate
    expect(await open({ 'tokenizer_config.json': { chat_template: 'a' } })).toBe('a')
    expect(await open({ 'tokenizer_config.json': { chat_template: 'a' }, 'chat_template.jinja': 'b' })).toBe('b')
    const named = [
      { name: 'tool_use', template: 'c' },
      { name: 'default', template: 'd' },
    ]
    expect(await open({ 'tokenizer_config.json': { chat_template: named } })).toBe('d')
    expect(await open({ 'tokenizer_config.json': { chat_template: named.slice(0, 1) } })).toBeNull()
    await expect(open({ 'tokenizer_config.json': { chat_template: 1 } })).rejects.toThrow(/chat_template/)
    await expect(open({ 'tokenizer_config.json': { chat_template: [{ name: 'default' }] } })).rejects.toThrow(/chat_template/)
  })

  it('passes tokenizer_config.json on, and the path of tokenizer.json unread', async () => {
    const folder = await folderOf({
      ...llama,
      'tokenizer.json': 'not even JSON',
      'tokenizer_config.json': { add_bos_token: true },
    })
    const { tokenizer } = await openCheckpoint(folder)
    expect(tokenizer).toEqual({ from: 'tokenizer.json', path: join(folder, 'tokenizer.json'), config: { add_bos_token: true } })
  })

  it('follows links, as the cache of Hugging Face is made of them', async () => {
    const [folder, blobs] = [await folderOf(llama), await temporaryFolder()]
    await rename(join(folder, 'model.safetensors'), join(blobs, 'blob'))
    await symlink(join(blobs, 'blob'), join(folder, 'model.safetensors'))
    expect((await openCheckpoint(folder)).tensors.size).toBe(1)
  })

  it('whose config.json is wrong gives an error that names the field', async () => {
    const open = async (config: unknown) => openCheckpoint(await folderOf({ ...llama, 'config.json': config }))
    await expect(open('{"model_type": "llama"')).rejects.toThrow(
      /config\.json: JSON: at byte 22: expected "," or "}", found the end/,
    )
    await expect(open('')).rejects.toMatchObject({ code: 'FILE_CORRUPT' })
    await expect(open([])).rejects.toThrow(/not an object/)
    for (const modelType of [undefined, 1, '', null])
      await expect(open({ model_type: modelType })).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
    expect((await open({ model_type: 'constructor' })).conventions).toBeNull()
    const quantized = open({ model_type: 'llama', quantization_config: { quant_method: 'gptq' } })
    await expect(quantized).rejects.toMatchObject({ code: 'FORMAT_UNSUPPORTED' })
    await expect(quantized).rejects.toThrow(/gptq/)
    await expect(openCheckpoint(await folderOf({ ...llama, 'config.json': ' '.repeat((16 << 20) + 1) }))).rejects.toThrow(
      /more than/,
    )
  })

  it('without readable weights tells what it looked for', async () => {
    const config = { 'config.json': { model_type: 'llama' } }
    await expect(openCheckpoint(await folderOf(config))).rejects.toThrow(/model\.safetensors.*neither/)
    await expect(openCheckpoint(await folderOf({ ...config, 'pytorch_model.bin': 'PK' }))).rejects.toThrow(/pickled/)
    const folder = await folderOf(config)
    await mkdir(join(folder, 'model.safetensors'))
    await expect(openCheckpoint(folder)).rejects.toThrow(/not a regular file/)
  })
})

describe('a sharded folder', () => {
  const shards = {
    'config.json': { model_type: 'llama' },
    'model-00001-of-00002.safetensors': writeSafetensors({ a: vector(0), b: vector(8) }, 16),
    'model-00002-of-00002.safetensors': writeSafetensors(
      { c: vector(0), mask: { dtype: 'BOOL', shape: [4], data_offsets: [8, 12] } },
      12,
    ),
  }
  const [first, second] = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors']
  const open = async (weightMap: unknown, files: Record<string, unknown> = {}) =>
    openCheckpoint(
      await folderOf({ ...shards, 'model.safetensors.index.json': { metadata: {}, weight_map: weightMap }, ...files }),
    )

  it('lists the tensors of its index, each in its file', async () => {
    const { tensors, files } = await open({ a: first, c: second, mask: second })
    expect([...tensors.values()].map(({ name, file }) => [name, basename(files[file]!.path)])).toEqual([
      ['a', first],
      ['c', second],
    ])
  })

  it('rejects an index that claims what the files do not have', async () => {
    await expect(open({ a: second })).rejects.toThrow(/weight_map "a": .*00002-of-00002\.safetensors has no such tensor/)
    await expect(open({ a: 'missing.safetensors' })).rejects.toThrow(/missing\.safetensors cannot be read: it does not exist/)
    for (const wrong of [undefined, [], 'x', {}, { a: 1 }, { a: null }])
      await expect(open(wrong)).rejects.toMatchObject({ code: 'FILE_CORRUPT' })
  })

  it('rejects names that lead out of the folder', async () => {
    const names = [
      '../x.safetensors',
      '/etc/x.safetensors',
      'a/../../x.safetensors',
      '..\\x.safetensors',
      'C:x.safetensors',
      './x.safetensors',
      'x\0.safetensors',
      '',
      'config.json',
    ]
    for (const name of names) await expect(open({ a: name }), name).rejects.toThrow(/inside the folder/)
  })

  it('prefers model.safetensors, as transformers does', async () => {
    const { tensors } = await open({ a: first }, { 'model.safetensors': writeSafetensors({ only: vector(0) }, 8) })
    expect([...tensors.keys()]).toEqual(['only'])
  })

  it('splits a whole folder without a difference', async () => {
    const [source, folder] = [fixture('llama'), await temporaryFolder()]
    await cp(join(source, 'config.json'), join(folder, 'config.json'))
    await cp(join(source, 'model.safetensors'), join(folder, 'model-00001-of-00001.safetensors'))
    const whole = await openCheckpoint(source)
    const weightMap = Object.fromEntries([...whole.tensors.keys()].map((name) => [name, 'model-00001-of-00001.safetensors']))
    await writeFile(join(folder, 'model.safetensors.index.json'), JSON.stringify({ weight_map: weightMap }))
    expect((await openCheckpoint(folder)).tensors).toEqual(whole.tensors)
    await rm(join(folder, 'model-00001-of-00001.safetensors'))
    await expect(openCheckpoint(folder)).rejects.toMatchObject({ code: 'FILE_UNREADABLE' })
  })
})
