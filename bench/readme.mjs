/**
 * Writes the README's measured tables from what the comparisons with others keep: `npm run bench:readme -- [--peers FILE] [--kernels
 * FILE] [--readme FILE]`. Default: bench/results/peers.json and kernels.json, and README.md between its two marks. A file that is not
 * there has no table.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { number, origin, percent, times } from './peers/table.mjs'

const here = dirname(fileURLToPath(import.meta.url))
const { values: args } = parseArgs({
  options: {
    peers: { type: 'string', default: join(here, 'results/peers.json') },
    kernels: { type: 'string', default: join(here, 'results/kernels.json') },
    readme: { type: 'string', default: join(here, '../README.md') },
  },
})
const limitNames = { read: 'reading', int8: 'int8', bf16: 'bf16', f32: 'f32' }
const marks = ['<!-- written by `npm run bench:readme` -->', '<!-- end of what is written -->']

const tables = [
  [args.peers, 'node-llama-cpp', 'npm run bench:peers', 'A Llama of 1.1 billion parameters with random weights, tokens per second unless it says otherwise:'],
  [args.kernels, 'onnxruntime-node', 'npm run bench:peers:kernels', 'Single kernels (products of 512 × 4096 × 4096, causal attention of 32 heads of 128 over 2,048 tokens), 10⁹ operations per second:'],
].flatMap(([file, peer, command, title]) => (existsSync(file) ? [section(JSON.parse(readFileSync(file, 'utf8')).rows, peer, command, title)] : []))
if (tables.length === 0) throw new Error(`Nothing was measured yet: there is neither ${args.peers} nor ${args.kernels}.`)

const readme = readFileSync(args.readme, 'utf8')
const [begin, end] = marks.map((mark) => readme.indexOf(mark))
if (begin < 0 || end < begin) throw new Error(`${args.readme} has no place between ${marks.join(' and ')}.`)
writeFileSync(args.readme, `${readme.slice(0, begin + marks[0].length)}\n${tables.join('\n\n')}\n${readme.slice(end)}`)

function section(rows, peer, command, title) {
  const versions = [...new Set(rows.map(({ peerVersion }) => peerVersion).filter(Boolean))].join(', ')
  const cells = rows.map(({ name, unit, ours, peer, ratio, shareOfLimit, limit }) => [
    ['tokens/s', 'GOP/s'].includes(unit) ? name : `${name}, ${unit}`,
    number(ours),
    number(peer),
    ratio === undefined ? '' : times(ratio),
    shareOfLimit === undefined ? '' : `${percent(shareOfLimit)} of ${limitNames[limit]}`,
  ])
  const table = [['', 'infernode', `${peer} ${versions}`.trim(), 'ratio', "of this machine's limit"], ['---', '---:', '---:', '---:', '---'], ...cells]
  const origins = [...new Set(rows.map(origin))].map((text) => `\`${command}\`: ${text}.`)
  return [title, '', ...table.map((row) => `| ${row.join(' | ')} |`), '', ...origins].join('\n')
}
