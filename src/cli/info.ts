/** `infernode info`: what this installation would run on, and why. */
import type { Command } from 'commander'
import { runtime, type RuntimeOptions } from '../index.js'
import { bold, jsonOption, number, table, write, writeJson } from './terminal.js'

const help = `
The ISA variant is the best that this CPU runs; INFERNODE_ISA or --isa force another.

Examples:
  $ infernode info
  $ INFERNODE_ISA=avx2 infernode info
  $ infernode info --json | jq -r .isa`

export function addInfo(program: Command): void {
  program
    .command('info')
    .summary('show version, backend, ISA variant and threads, and why these')
    .description('Prints the version and what a model would run on here: backend, ISA variant, threads, and the reasons.')
    .option('--threads <n>', 'as with `generate`', number)
    .option('--isa <name>', 'as with `generate`')
    .addOption(jsonOption())
    .addHelpText('after', help)
    .action(info)
}

async function info(flags: RuntimeOptions & { json?: boolean }): Promise<void> {
  const { json, ...options } = flags
  const found = await runtime(options)
  if (json) return writeJson({ ...found, node: process.version, platform: `${process.platform}-${process.arch}` })
  const rows = [
    ['version', found.packageVersion],
    ['node', `${process.version} on ${process.platform}-${process.arch}`],
    ['backend', found.backend],
    ['isa', `${found.isa}  (this CPU runs: ${found.isas.join(', ')})`],
    ['threads', `${found.threads}  (${found.threadsReason})`],
    ['cpu', found.cpuModel],
    ['features', found.cpuFeatures.join(' ')],
    ['types', `${found.tensorTypes.integer.join(' ')}  (in integer arithmetic)`],
    ['', `${found.tensorTypes.float.join(' ')}  (as they are)`],
    ['', `${found.tensorTypes.decoded.join(' ')}  (decoded as they are read: slower)`],
  ]
  await write(`${table(rows.map(([name, value]) => [bold(name!), value!]))}\n`)
}
