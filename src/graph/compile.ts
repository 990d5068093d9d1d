/** From a checkpoint to a plan: the architecture writes the graph, the passes make it fast, memory planning makes it run. */
import { findArchitecture } from '../architectures/index.js'
import { InfernodeError } from '../errors.js'
import type { Checkpoint } from '../formats/checkpoint.js'
import { Turn } from '../formats/file.js'
import { GraphBuilder, refuseOverlooked } from './builder.js'
import { type Graph, listOf } from './graph.js'
import { inferShapes, opRow } from './ops.js'
import { foldActivation } from './passes/fold-activation.js'
import { foldResidual } from './passes/fold-residual.js'
import { foldScale } from './passes/fold-scale.js'
import { groupKvLayers } from './passes/group-kv-layers.js'
import { groupLinears } from './passes/group-linears.js'
import { placeHead } from './passes/place-head.js'
import { planMemory } from './passes/plan-memory.js'
import { quantizeActivations } from './passes/quantize-activations.js'
import { removeDead } from './passes/remove-dead.js'
import type { Plan } from './plan.js'

export interface CompileOptions {
  /** Keep the values that the architecture names (`hidden_states.0`, …) as outputs. Default false: only `logits`. */
  readonly capture?: boolean
}

/** What a plan says about its model beside the steps. */
export type PlanHeader = Pick<Plan, 'architecture' | 'vocabSize' | 'contextLength' | 'files'>

/** In this order: groups make lists that activations fold into; what is left of single linears takes the residual. */
export const fusionPasses: readonly ((graph: Graph) => Graph)[] = [foldScale, groupLinears, foldActivation, foldResidual]

/** The graph as the architecture wrote it. Reads a few bytes of the file where it holds rotary factors. */
export async function buildGraph(
  checkpoint: Checkpoint,
  { capture = false }: CompileOptions = {},
): Promise<{
  header: PlanHeader
  graph: Graph
}> {
  const { name, readConfig, build } = findArchitecture(checkpoint)
  const config = await readConfig(checkpoint)
  const g = new GraphBuilder(checkpoint, { capture })
  g.output('logits', build(g, config))
  const graph = g.finish()
  await new Turn().next()
  refuseOverlooked(checkpoint, graph)
  const { vocabSize, contextLength } = config
  const files = checkpoint.files.map(({ path, bytes, mtimeMs }) => ({ path, bytes, mtimeMs }))
  return { header: { architecture: name, vocabSize, contextLength, files }, graph }
}

/** The plan of a checkpoint. Throws an InfernodeError that names the field or the tensor where the checkpoint cannot be run. */
export async function compilePlan(checkpoint: Checkpoint, options: CompileOptions = {}): Promise<Plan> {
  const { header, graph } = await buildGraph(checkpoint, options)
  // All passes together would hold the event loop for 20 ms.
  const turn = new Turn()
  const stages = compileStages(graph, header, fusionPasses)
  for (;;) {
    await turn.next()
    const stage = stages.next()
    if (stage.done) return stage.value
  }
}

/** Passes, checks and memory planning: any graph becomes a plan. */
export function compileGraph(graph: Graph, header: PlanHeader, passes = fusionPasses): Plan {
  const stages = compileStages(graph, header, passes)
  for (;;) {
    const stage = stages.next()
    if (stage.done) return stage.value
  }
}

/** Stops after each pass, for callers that have more to do. */
function* compileStages(graph: Graph, header: PlanHeader, passes: typeof fusionPasses): Generator<void, Plan> {
  for (const pass of [...passes, quantizeActivations, removeDead]) {
    graph = pass(graph)
    yield
  }
  const placed = placeHead(graph)
  graph = placed.graph
  yield
  checkGraph(graph)
  yield
  const { values, bytesPerRow } = planMemory(graph)
  yield
  const { weights, steps, inputs, outputs } = graph
  const { headStep } = placed
  return { version: 1, ...header, weights, values, steps, headStep, kv: groupKvLayers(graph), inputs, outputs, bytesPerRow }
}

/**
 * Checks that passes kept the graph sound: shapes as the op table says, types that ops can read, everything written before
 * it is read.
 */
export function checkGraph(graph: Graph): void {
  const written = new Set(graph.inputs.map((input) => input.value))
  for (const step of graph.steps) {
    const defect = (reason: string) => new InfernodeError('PLAN_INVALID', `${step.op} ${step.label}`, reason)
    const row = opRow(step.op)
    for (const [name, operand] of Object.entries(step.inputs)) {
      for (const id of listOf(operand)) {
        if (!written.has(id)) throw defect(`${name} is read before it is written`)
        if (graph.values[id]!.type !== 'f32' && row.inputs[name] !== 'list') throw defect(`${name} is ${graph.values[id]!.type}`)
      }
    }
    const shapes = inferShapes(step, graph.values, graph.weights)
    for (const [name, operand] of Object.entries(step.outputs)) {
      const inferred = shapes[name]
      listOf(operand).forEach((id, i) => {
        const value = graph.values[id]!
        const shape = Array.isArray(inferred) ? inferred[i] : inferred
        if (value.rows !== shape?.rows || value.width !== shape.width)
          throw defect(`${name} has another shape than the op table says`)
        if (value.type !== 'f32' && !row.quantizes) throw defect(`${name} is ${value.type}`)
        if (written.has(id)) throw defect(`${name} is written twice`)
        written.add(id)
      })
    }
  }
  for (const { name, value } of graph.outputs) {
    if (!written.has(value)) throw new InfernodeError('PLAN_INVALID', name, 'no step writes this output')
  }
}
