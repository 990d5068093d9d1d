/** How much a plan reads and multiplies per token: what speeds are compared with this machine's limits by. */
import type { Inspection } from '../index.js'

export interface Work {
  /** Multiply-adds of the weight matrices for a token of a prompt; logits are computed for the last one only. */
  readonly macsPerPromptToken: number
  /** Bytes of weights that generating one token reads. */
  readonly bytesPerToken: number
}

const matmuls: readonly string[] = ['linear', 'expertsSwiglu', 'expertsSum']

export function workOfPlan(plan: Inspection['plan'], bytesOf: (name: string) => number): Work {
  let macsPerPromptToken = 0
  let bytesPerToken = 0
  plan.steps.forEach((step, at) => {
    if (!matmuls.includes(step.op)) return
    // Of a mixture, the experts that a token is routed to; several tokens read more, but nobody knows which.
    const routing = step.inputs.routing
    const active = typeof routing === 'number' ? plan.values[routing]!.width / 2 : 1
    for (const index of Object.entries(step.weights).flatMap(([name, ids]) => (name === 'bias' ? [] : ids))) {
      const weight = plan.weights[index]!
      const [rows, columns] = weight.shape.slice(-2) as [number, number]
      const experts = weight.shape.length === 3 ? weight.shape[0]! : 1
      const names = 'parts' in weight && weight.parts ? weight.parts.map((_, e) => weight.name.replace('*', String(e))) : [weight.name]
      bytesPerToken += (names.reduce((sum, name) => sum + bytesOf(name), 0) * active) / experts
      if (at < plan.headStep) macsPerPromptToken += rows * columns * active
    }
  })
  return { macsPerPromptToken, bytesPerToken }
}

/** Plain reading is measured on the checkpoint's own bytes, if no cache holds them. */
export function readProbe(files: readonly { readonly path: string; readonly bytes: number }[]): { file?: string } {
  const [largest] = [...files].sort((a, b) => b.bytes - a.bytes)
  return largest && largest.bytes >= 256 * 2 ** 20 ? { file: largest.path } : {}
}
