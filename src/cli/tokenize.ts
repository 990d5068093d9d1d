/** `infernode tokenize`: how a text falls into tokens. */
import type { Command } from 'commander'
import { loadTokenizer } from '../index.js'
import { type ModelFlags, modelOption } from './load.js'
import { jsonOption, table, write, writeJson } from './terminal.js'
import { readTextArgument } from './stdin.js'

const help = `
Examples:
  $ infernode tokenize "Once upon a time"
  $ infernode tokenize --model gemma-3-270m.gguf --json "naïve 🦙" | jq .ids
  $ infernode tokenize --model minilm "How old is it?" --pair "It is ten years old."
  $ infernode tokenize - < book.txt | wc -l`

export function addTokenize(program: Command): void {
  program
    .command('tokenize')
    .summary('show how a text falls into tokens')
    .description(
      'Prints the tokens of a text: id, place in the text (UTF-16 code units), spelling in the vocabulary, the text itself. ' +
        'Of a pair of texts also which of them a token is of.',
    )
    .argument('<text>', 'the text; "-" reads it from stdin')
    .addOption(modelOption())
    .option('--pair <text>', 'a second text, encoded with the first as models want it that compare texts')
    .option('--no-add-special', 'do not add what the tokenizer puts around a text')
    .option('--parse-special', 'let control tokens that are spelled out in the text act as such')
    .addOption(jsonOption())
    .addHelpText('after', help)
    .action(tokenize)
}

interface TokenizeFlags extends Pick<ModelFlags, 'model'> {
  pair?: string
  addSpecial: boolean
  parseSpecial?: boolean
  json?: boolean
}

async function tokenize(argument: string, flags: TokenizeFlags): Promise<void> {
  const text = await readTextArgument(argument)
  const { pair, addSpecial, parseSpecial = false } = flags
  const tokenizer = await loadTokenizer(flags.model)
  const encoding = await tokenizer.encodeInput(pair === undefined ? text : [text, pair], { addSpecial, parseSpecial })
  const ids = [...encoding.ids]
  const pieces = tokenizer.pieces(encoding.ids)
  const offsets = ids.map((_, i) => [encoding.offsets[2 * i]!, encoding.offsets[2 * i + 1]!] as const)
  if (flags.json) {
    const both = { sequenceIds: [...encoding.sequenceIds], typeIds: [...encoding.typeIds] }
    await writeJson({ ids, pieces, offsets, specialTokensMask: [...encoding.specialTokensMask], ...(pair !== undefined && both) })
    return
  }
  const rows = ids.map((id, i) => {
    const [start, end] = offsets[i]!
    const of = encoding.sequenceIds[i]!
    const shown = of < 0 ? '' : [text, pair ?? ''][of]!.slice(start, end)
    return [String(id), ...(pair === undefined ? [] : [['–', 'A', 'B'][of + 1]!]), `${start}–${end}`, pieces[i]!, JSON.stringify(shown)]
  })
  if (rows.length > 0) await write(`${table(rows, [0])}\n`)
}
