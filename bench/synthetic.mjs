/** Checkpoints of real shapes with random weights of any type, written on the first use and kept after that. */
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { writeSynthetic } from '../dist/cli/synthetic.js'

/** TinyLlama's shape: 1.1 billion parameters. */
export const shape1B = { dim: 2048, nLayers: 22, nHeads: 32, nKvHeads: 4, ffnDim: 5632, vocabSize: 32000, contextLength: 2048 }

/** A small Mixtral: each token is routed to `nActive` of `nExperts` experts. 8 layers, 420 million parameters. */
export const shapeMixture = {
  ...{ dim: 1024, nLayers: 8, nHeads: 16, nKvHeads: 4, ffnDim: 2048, vocabSize: 8192, contextLength: 2048 },
  ...{ nExperts: 8, nActive: 2 },
}

/**
 * The path of a GGUF file of this shape and weight type (one that `quantize` writes), in `folder` (default: infernode-bench in the
 * system's temporary folder).
 */
export async function syntheticModel(type, shape = shape1B, folder = join(tmpdir(), 'infernode-bench')) {
  const path = syntheticPath(type, shape, folder)
  if (existsSync(path)) return path
  mkdirSync(folder, { recursive: true })
  await writeSynthetic(path, shape, type)
  return path
}

/** Takes the file away again: those of f32 have 4 GB. */
export function forgetSyntheticModel(type, shape = shape1B, folder = join(tmpdir(), 'infernode-bench')) {
  rmSync(syntheticPath(type, shape, folder), { force: true })
}

function syntheticPath(type, { dim, nLayers, ffnDim, vocabSize, contextLength, nExperts, nActive }, folder) {
  const experts = nExperts ? `-${nActive}of${nExperts}` : ''
  return join(folder, `llama-${dim}x${nLayers}-ffn${ffnDim}${experts}-v${vocabSize}-c${contextLength}-${type}-2.gguf`)
}
