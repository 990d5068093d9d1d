/** Plans a GGUF file from a Hugging Face folder: names, value conventions, rotary factors, tokenizer, chat template. */
import { findArchitecture } from '../architectures/index.js'
import { InfernodeError } from '../errors.js'
import type { Checkpoint, TensorInfo } from '../formats/checkpoint.js'
import { quoteForPeople } from '../formats/file.js'
import { ggufConventions, ggufName } from '../formats/gguf-names.js'
import { ggufValue, type GgufWriterValue } from '../formats/gguf-writer.js'
import { unusedTensors } from '../graph/builder.js'
import { buildGraph } from '../graph/compile.js'
import { type Conversion, conversionOf } from './families.js'
import type { Change, ConversionPlan, PlannedTensor } from './plan.js'
import { tokenizerMetadata } from './tokenizer.js'

/**
 * Throws what opening and building the model would throw, FORMAT_UNSUPPORTED for what GGUF cannot say, and TOKENIZER_* for a
 * tokenizer that GGUF has no form for.
 */
export async function planFromHuggingFace(checkpoint: Checkpoint): Promise<ConversionPlan> {
  // A folder that would not run is not converted; and the graph knows which tensors the model reads.
  const { graph } = await buildGraph(checkpoint)
  const left = new Set(unusedTensors(checkpoint, graph))
  const config = await findArchitecture(checkpoint).readConfig(checkpoint)
  const conversion = conversionOf(checkpoint, config)
  const remarks: string[] = [...conversion.remarks]

  const tensors: PlannedTensor[] = []
  const stacks = new Set<string>()
  for (const tensor of checkpoint.tensors.values()) {
    if (left.has(tensor.name)) continue
    const stack = tensor.name.replace(expertNumber, '.experts.')
    if (stack === tensor.name) tensors.push(planTensor(checkpoint, tensor, conversion))
    // Where the first of its matrices is, all of them go.
    else if (!stacks.has(stack)) {
      stacks.add(stack)
      tensors.push(planStack(checkpoint, stack, tensor.name, conversion))
    }
  }
  for (const { name, values } of conversion.computed)
    tensors.push({ name, shape: [values.length], from: 'f32', source: { values } })
  if (left.size > 0) remarks.push(`${left.size} tensors that the model does not read are left out, such as ${quoteForPeople([...left][0]!)}`)

  const tokenizer = await tokenizerMetadata(checkpoint, conversion.vocabSize)
  remarks.push(...tokenizer.remarks)
  const metadata = new Map<string, GgufWriterValue>([
    ['general.architecture', ggufValue('string', conversion.architecture)],
    ['general.type', ggufValue('string', 'model')],
    ['general.name', ggufValue('string', checkpoint.name)],
    ...[...conversion.metadata].map(([key, value]) => [`${conversion.architecture}.${key}`, value] as const),
    ...samplingMetadata(checkpoint),
    ...tokenizer.metadata,
    ...(checkpoint.chatTemplate === null ? [] : [['tokenizer.chat_template', ggufValue('string', checkpoint.chatTemplate)] as const]),
  ])
  return { metadata, alignment: 32, tensors, remarks }
}

function planTensor(checkpoint: Checkpoint, tensor: TensorInfo, conversion: Conversion): PlannedTensor {
  const { architecture } = conversion
  const name = ggufName(architecture, tensor.name)
  if (name === null)
    throw new InfernodeError(
      'FORMAT_UNSUPPORTED',
      quoteForPeople(checkpoint.path),
      `tensor "${quoteForPeople(tensor.sourceName)}"`,
      `GGUF files of the architecture "${architecture}" have no place for it`,
    )
  const changes: Change[] = []
  // Where the formats turn different pairs of dimensions, the rows of q and k change places.
  const pairs = [checkpoint.conventions!.ropePairing, ggufConventions(architecture)!.ropePairing]
  if (pairs[0] !== pairs[1] && /\.self_attn\.[qk]_proj\./.test(tensor.name))
    changes.push({ kind: 'pairRows', headDim: conversion.headDim })
  if (tensor.transposed) changes.push({ kind: 'transpose' })
  if (tensor.add !== undefined) changes.push({ kind: 'affine', scale: 1, add: tensor.add })
  const scaled = conversion.scaleOf(tensor.name)
  if (scaled && Math.abs(scaled.scale - 1) > 1e-9) changes.push({ kind: 'affine', add: 0, ...scaled })
  const { path } = checkpoint.files[tensor.file]!
  const { shape, type: from, offset, bytes } = tensor
  return { name, shape, from, source: { places: [{ path, offset, bytes }], changes } }
}

const expertNumber = /\.experts\.\d+\./

/** The matrices of all experts as one tensor, [experts, out, in]. `name`: of any of them. */
function planStack(checkpoint: Checkpoint, stack: string, name: string, conversion: Conversion): PlannedTensor {
  const planned: PlannedTensor[] = []
  for (let expert = 0; ; expert++) {
    const tensor = checkpoint.tensors.get(name.replace(expertNumber, `.experts.${expert}.`))
    if (!tensor) break
    planned.push(planTensor(checkpoint, { ...tensor, name: stack }, conversion))
  }
  // Of one type, or there would be no graph.
  const first = planned[0]!
  const places = planned.flatMap(({ source }) => ('places' in source ? source.places : []))
  return { ...first, shape: [planned.length, ...first.shape], source: { places, changes: [] } }
}

/** As gguf.ts reads them. */
function samplingMetadata({ generation }: Checkpoint): [string, GgufWriterValue][] {
  const { temperature, topK, topP, minP, repetitionPenalty } = generation
  const entries: [string, 'f32' | 'i32', number | undefined][] = [
    ['temp', 'f32', temperature],
    ['top_k', 'i32', topK],
    ['top_p', 'f32', topP],
    ['min_p', 'f32', minP],
    ['penalty_repeat', 'f32', repetitionPenalty],
  ]
  return entries.flatMap(([key, type, value]): [string, GgufWriterValue][] =>
    value === undefined ? [] : [[`general.sampling.${key}`, ggufValue(type, value)]],
  )
}
