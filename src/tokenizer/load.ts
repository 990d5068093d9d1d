/** A tokenizer without its model: quick, and for checkpoints of families that infernode does not run. */
import { InfernodeError } from '../errors.js'
import { openCheckpoint } from '../formats/index.js'
import { embeddedModel } from '../model.js'
import { Tokenizer } from './tokenizer.js'

/**
 * The tokenizer of a checkpoint, of which nothing else is used.
 * @param path GGUF file or Hugging Face folder; default: the model inside the package
 * @throws TOKENIZER_MISSING, TOKENIZER_UNSUPPORTED, TOKENIZER_INVALID, and what opening the file throws
 */
export async function loadTokenizer(path: string = embeddedModel): Promise<Tokenizer> {
  const checkpoint = await openCheckpoint(path)
  if (!checkpoint.tokenizer) throw new InfernodeError('TOKENIZER_MISSING', checkpoint.path)
  return Tokenizer.load(checkpoint.tokenizer)
}
