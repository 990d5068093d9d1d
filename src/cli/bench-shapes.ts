/** Configs of published models, as `infernode bench kernels` measures them. */
import { rowBytes, type TensorTypeName } from '../tensor-types.js'
import type { SyntheticShape } from './synthetic.js'

export const benchShapes: Readonly<Record<string, SyntheticShape>> = {
  'llama-3.2-1b': { dim: 2048, nLayers: 16, nHeads: 32, nKvHeads: 8, ffnDim: 8192, vocabSize: 128256, contextLength: 131072 },
  'llama-3.1-8b': { dim: 4096, nLayers: 32, nHeads: 32, nKvHeads: 8, ffnDim: 14336, vocabSize: 128256, contextLength: 131072 },
  'qwen3-0.6b': {
    ...{ architecture: 'qwen3', dim: 1024, nLayers: 28, nHeads: 16, nKvHeads: 8, headDim: 128, ffnDim: 3072 },
    ...{ vocabSize: 151936, contextLength: 40960 },
  },
  'qwen3-30b-a3b': {
    ...{ architecture: 'qwen3moe', dim: 2048, nLayers: 48, nHeads: 32, nKvHeads: 4, headDim: 128, ffnDim: 768, nExperts: 128, nActive: 8 },
    ...{ vocabSize: 151936, contextLength: 40960 },
  },
  'gemma-3-270m': {
    ...{ architecture: 'gemma3', dim: 640, nLayers: 18, nHeads: 4, nKvHeads: 1, headDim: 256, ffnDim: 2048 },
    ...{ vocabSize: 262144, contextLength: 32768, window: 512 },
  },
}

/** Weights of a few layers are enough, as long as no cache holds them until their next turn. */
const enoughBytes = 160 << 20
const mostVocabulary = 16384

/** Of the same widths, with fewer layers and fewer rows of the output matrix: what takes the same time per byte need not be long. */
export function shortened(shape: SyntheticShape, type: TensorTypeName): SyntheticShape {
  const { dim, nHeads, nKvHeads, headDim = dim / nHeads, ffnDim, nExperts = 1 } = shape
  const rowsOfDim = 2 * nHeads * headDim + 2 * nKvHeads * headDim + 3 * ffnDim * nExperts
  const layerBytes = rowsOfDim * rowBytes(type, dim)
  return {
    ...shape,
    nLayers: Math.min(shape.nLayers, Math.ceil(enoughBytes / layerBytes)),
    vocabSize: Math.min(shape.vocabSize, mostVocabulary),
  }
}
