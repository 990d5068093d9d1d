// The clean-room test: packs infernode, installs the tarball in an empty folder with scripts off, and does the main job there as a
// user would, from ESM, CommonJS, TypeScript and the command line. `--tarball FILE` takes a tarball that is already packed.
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { binOf, capture, cleanEnv, fail, packageJson, root } from './toolchain.mjs'

const { values } = parseArgs({ options: { tarball: { type: 'string' }, node: { type: 'string', default: process.execPath } } })
const maxTarballBytes = 8e6

const room = realpathSync(mkdtempSync(join(tmpdir(), 'infernode-clean-room-')))
const results = []

/** Runs one step; prints its name, and all that it said if it failed. */
async function step(name, action) {
  let problem
  try {
    problem = await action()
  } catch (cause) {
    problem = cause.stack
  }
  console.log(`${problem ? 'FAILED' : 'ok    '}  ${name}`)
  if (problem) console.log(String(problem).trim().replace(/^/gm, '        '))
  results.push(!problem)
}

/** A command in the clean room, without a trace of the clone in its environment, ends as expected. Returns what is wrong, if anything. */
async function succeeds(command, args, expected, expectedStatus = 0) {
  const env = cleanEnv()
  for (const name of Object.keys(env)) if (/^(npm_|NODE_PATH$|INFERNODE_)/.test(name) && !/^npm_config_(cache|userconfig)$/.test(name)) delete env[name]
  const { status, output } = await capture(command, args, { cwd: room, env })
  if (status !== expectedStatus) return `${[command, ...args].join(' ')}: status ${status}\n${output}`
  return expected && !expected.test(output) ? `the output does not match ${expected}:\n${output}` : undefined
}

const write = (name, text) => writeFileSync(join(room, name), text)

/** The main job in six lines; whatever comes before `Model` is the language's own way to import it. */
const mainJob = (imports) => `${imports}
async function main()RETURNS {
  const model = await Model.load()
  let streamed = ''
  for await (const piece of model.generate('Once upon a time', { maxTokens: 24, seed: 7 })) streamed += piece.text
  const { text, usage } = await model.generate('Once upon a time', { maxTokens: 24, seed: 7 }).result()
  if (streamed === '' || text !== streamed) throw new Error(\`streamed \${JSON.stringify(streamed)}, result \${JSON.stringify(text)}\`)
  await model.dispose()
  console.log('main job done', JSON.stringify(usage))
}
main().catch((cause: unknown) => { console.error(cause); process.exitCode = 1 })
`
const javaScript = (imports) => mainJob(imports).replace('RETURNS', '').replace(': unknown', '')
const typeScript = (imports) => mainJob(imports).replace('RETURNS', ': Promise<void>')
const done = /main job done/

/** A checkpoint as people download it, too small to say anything sensible: a folder with a chat template and seeded weights. */
function writeChatFolder() {
  const folder = join(room, 'checkpoint')
  mkdirSync(folder)
  const from = join(root, 'test', 'fixtures', 'fairytale', 'hf')
  for (const name of ['tokenizer.json', 'tokenizer_config.json']) copyFileSync(join(from, name), join(folder, name))
  const [dim, ffn, heads, kvHeads, headDim] = [64, 128, 4, 2, 16]
  const shape = { hidden_size: dim, intermediate_size: ffn, num_attention_heads: heads, num_key_value_heads: kvHeads, head_dim: headDim }
  const config = { ...JSON.parse(readFileSync(join(from, 'config.json'), 'utf8')), ...shape, num_hidden_layers: 1 }
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config))
  writeFileSync(
    join(folder, 'chat_template.jinja'),
    "{% for m in messages %}{{ m.role + ': ' + m.content + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}",
  )
  const layer = (name, ...sizes) => [`model.layers.0.${name}.weight`, sizes]
  const tensors = [
    ['model.embed_tokens.weight', [config.vocab_size, dim]],
    ['model.norm.weight', [dim]],
    layer('input_layernorm', dim),
    layer('post_attention_layernorm', dim),
    layer('self_attn.q_proj', heads * headDim, dim),
    layer('self_attn.k_proj', kvHeads * headDim, dim),
    layer('self_attn.v_proj', kvHeads * headDim, dim),
    layer('self_attn.o_proj', dim, heads * headDim),
    layer('mlp.gate_proj', ffn, dim),
    layer('mlp.up_proj', ffn, dim),
    layer('mlp.down_proj', dim, ffn),
  ]
  const header = {}
  let end = 0
  for (const [name, sizes] of tensors) {
    const start = end
    end += 4 * sizes.reduce((product, size) => product * size, 1)
    header[name] = { dtype: 'F32', shape: sizes, data_offsets: [start, end] }
  }
  const text = Buffer.from(JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(text.length))
  let state = 1
  const data = Float32Array.from({ length: end / 4 }, () => ((state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0) / 2 ** 32 - 0.5) / 4)
  writeFileSync(join(folder, 'model.safetensors'), Buffer.concat([length, text, Buffer.from(data.buffer)]))
}

const chatJob = `import { Model } from 'infernode'
const model = await Model.load('checkpoint')
const messages = [{ role: 'user', content: 'Who lives in the forest?' }]
const { text, usage } = await model.chat(messages, { maxTokens: 8, temperature: 0 }).result()
const again = await model.chat(messages, { maxTokens: 8, temperature: 0 }).result()
if (usage.completionTokens === 0 || text !== again.text) throw new Error(JSON.stringify([text, again.text, usage]))
await model.dispose()
console.log('chat job done', model.info.format, JSON.stringify(usage))
`

async function pack() {
  if (values.tarball) return resolve(values.tarball)
  // stdout is the JSON; what prepare and prepack say goes to stderr, and all of it is in `output` when something fails.
  const { status, output } = await capture('npm', ['pack', '--pack-destination', room])
  if (status !== 0) throw new Error(`npm pack failed:\n${output}`)
  return join(room, `${packageJson.name}-${packageJson.version}.tgz`)
}

async function main() {
  const tarball = await pack()
  const { size } = statSync(tarball)
  const node = values.node
  write('package.json', JSON.stringify({ name: 'clean-room', version: '1.0.0', private: true }))
  write('esm.mjs', javaScript(`import { Model } from 'infernode'`))
  write('common.cjs', javaScript(`const { Model } = require('infernode')`))
  write('chat.mjs', chatJob)
  writeChatFolder()
  write('typed.mts', typeScript(`import { Model } from 'infernode'`))
  write('typed-common.cts', typeScript(`import { Model } from 'infernode'`))
  const compilerOptions = { target: 'ES2023', module: 'NodeNext', strict: true, exactOptionalPropertyTypes: true, types: ['node'], skipLibCheck: false }
  write('tsconfig.json', JSON.stringify({ compilerOptions, files: ['typed.mts', 'typed-common.cts'] }))

  await step(`the tarball is ${(size / 1e6).toFixed(2)} MB, at most ${maxTarballBytes / 1e6}`, () => size > maxTarballBytes && 'too big')
  await step('publint finds nothing', () =>
    succeeds(process.execPath, [binOf('publint'), 'run', tarball, '--strict', '--pack', 'false']))
  await step('attw finds nothing', () =>
    succeeds(process.execPath, [binOf('@arethetypeswrong/cli', 'attw'), tarball, '--ignore-rules', 'cjs-resolves-to-esm']))
  await step('npm install of the tarball, scripts off', () => succeeds('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', tarball]))
  await step('the main job from ESM', () => succeeds(node, ['esm.mjs'], done))
  await step('the main job from CommonJS', () => succeeds(node, ['common.cjs'], done))

  await step('a chat with a Hugging Face folder', () => succeeds(node, ['chat.mjs'], /chat job done safetensors/))

  // The compiler and Node's types come from the clone; infernode's types only from the tarball.
  symlinkSync(join(root, 'node_modules', '@types'), join(room, 'node_modules', '@types'), 'dir')
  await step('TypeScript accepts the packed types', () => succeeds(process.execPath, [binOf('typescript', 'tsc'), '-p', 'tsconfig.json']))
  await step('the main job from TypeScript', () => succeeds(node, ['typed.mjs'], done))
  await step('the main job from TypeScript as CommonJS', () => succeeds(node, ['typed-common.cjs'], done))
  await step('npx infernode generate', () =>
    succeeds('npx', ['--no', 'infernode', 'generate', 'Once upon a time', '--max-tokens', '16'], /tokens\/s|tok\/s/))
  await step('npx infernode bench peers says what it needs', () =>
    succeeds('npx', ['--no', 'infernode', 'bench', 'peers'], /checkout of the sources/, 2))
}

await main().catch(fail).finally(() => rmSync(room, { recursive: true, force: true }))
const failed = results.filter((passed) => !passed).length
console.log(`${results.length - failed} passed, ${failed} failed`)
process.exitCode = failed > 0 ? 1 : 0
