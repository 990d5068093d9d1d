/** `infernode tokenize`: how a text falls into tokens. */
import type { Command } from 'commander'
import { loadModel, type ModelFlags, modelOption } from './load.js'
import { jsonOption, table, write, writeJson } from './terminal.js'
import { readTextArgument } from './stdin.js'

const help = `
Examples:
  $ infernode tokenize "Once upon a time"
  $ infernode tokenize --model gemma-3-270m.gguf --json "naïve 🦙" | jq .ids
  $ infernode tokenize - < book.txt | wc -l`

export function addTokenize(program: Command): void {
  program
    .command('tokenize')
    .summary('show how a text falls into tokens')
    .description(
      'Prints the tokens of a text: id, place in the text (UTF-16 code units), spelling in the vocabulary, the text itself.',
    )
    .argument('<text>', 'the text; "-" reads it from stdin')
    .addOption(modelOption())
    .option('--no-add-special', 'do not add a beginning-of-text token')
    .option('--parse-special', 'let control tokens that are spelled out in the text act as such')
    .addOption(jsonOption())
    .addHelpText('after', help)
    .action(tokenize)
}

async function tokenize(
  argument: string,
  flags: Pick<ModelFlags, 'model'> & { addSpecial: boolean; parseSpecial?: boolean; json?: boolean },
): Promise<void> {
  const text = await readTextArgument(argument)
  const model = await loadModel({ ...(flags.model !== undefined && { model: flags.model }), mmap: true }, { cacheTokens: 1 })
  try {
    const tokens = await model.tokenize(text, { addSpecial: flags.addSpecial, parseSpecial: flags.parseSpecial ?? false })
    if (flags.json) {
      await writeJson({
        ids: tokens.map((token) => token.id),
        pieces: tokens.map((token) => token.piece),
        offsets: tokens.map((token) => [token.start, token.end]),
      })
    } else {
      const rows = tokens.map(({ id, piece, start, end }) => [
        String(id),
        `${start}–${end}`,
        piece,
        JSON.stringify(text.slice(start, end)),
      ])
      if (rows.length > 0) await write(`${table(rows, [0])}\n`)
    }
  } finally {
    await model.dispose()
  }
}
