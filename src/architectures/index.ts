/** The table of architectures: one line per family. */
import { InfernodeError } from '../errors.js'
import type { Checkpoint } from '../formats/checkpoint.js'
import type { Architecture } from './architecture.js'
import { gemma } from './gemma.js'
import { gemma2 } from './gemma2.js'
import { gemma3 } from './gemma3.js'
import { gpt2 } from './gpt2.js'
import { llama } from './llama.js'
import { mixtral } from './mixtral.js'
import { phi3 } from './phi3.js'
import { qwen2 } from './qwen2.js'
import { qwen3 } from './qwen3.js'
import { qwen3Moe } from './qwen3-moe.js'
import { smollm3 } from './smollm3.js'

export const architectures: readonly Architecture[] = [
  llama,
  mixtral,
  qwen2,
  qwen3,
  qwen3Moe,
  phi3,
  gemma,
  gemma2,
  gemma3,
  smollm3,
  gpt2,
]

/** The family of a checkpoint, with its name. Throws ARCHITECTURE_UNKNOWN with the names that there are. */
export function findArchitecture({ modelType, path }: Checkpoint): Architecture & { readonly name: string } {
  const found = architectures.find(({ modelTypes }) => modelTypes.includes(modelType))
  if (found) return { ...found, name: found.modelTypes[0]! }
  const known = architectures
    .flatMap(({ modelTypes }) => modelTypes)
    .sort()
    .join(', ')
  throw new InfernodeError('ARCHITECTURE_UNKNOWN', path, modelType, known)
}
