/** A copy of the embedded model with a chat template, as a checkpoint of either format. */
import { copyFile, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { embeddedModel } from '../../src/model.js'
import { value, u64Bytes } from './gguf-writer.js'
import { folderForTest } from './models.js'

/** Turns between the vocabulary's own control tokens: <s>role\ncontent</s>. */
export const turnsTemplate =
  "{{ bos_token }}{% for message in messages %}{{ message['role'] + ':\\n' + message['content'] | trim + eos_token + '\\n' }}" +
  "{% endfor %}{% if add_generation_prompt %}{{ 'assistant:\\n' }}{% endif %}"

/** The embedded GGUF with one more entry in its metadata. */
export async function ggufWithTemplate(template: string = turnsTemplate): Promise<string> {
  const path = join(await folderForTest(), 'chat.gguf')
  const file = await readFile(embeddedModel)
  const { type, bytes } = value('string', template)
  const key = Buffer.from('tokenizer.chat_template')
  const kind = Buffer.alloc(4)
  kind.writeUInt32LE(type)
  const entry = Buffer.concat([u64Bytes(key.length), key, kind, bytes])
  // Data begins at a multiple of 32, so the header may grow by such multiples only: a second entry fills up.
  const filler = (length: number): Buffer => {
    const name = Buffer.from('general.filler')
    const text = value('string', ' '.repeat(length))
    return Buffer.concat([u64Bytes(name.length), name, kind, text.bytes])
  }
  const length = (32 - ((entry.length + filler(0).length) % 32)) % 32
  const entries = Buffer.concat([entry, filler(length)])
  const header = Buffer.from(file.subarray(0, 24))
  header.writeBigUInt64LE(header.readBigUInt64LE(16) + 2n, 16)
  await writeFile(path, Buffer.concat([header, entries, file.subarray(24)]))
  return path
}

/** The Hugging Face folder `from` with a chat_template.jinja. */
export async function folderWithTemplate(from: string, template: string = turnsTemplate): Promise<string> {
  const folder = await folderForTest()
  for (const name of ['config.json', 'generation_config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json']) {
    await copyFile(join(from, name), join(folder, name))
  }
  await writeFile(join(folder, 'chat_template.jinja'), template)
  return folder
}
