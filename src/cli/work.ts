/** How much a plan reads and multiplies per token: what speeds are compared with this machine's limits by. */
import type { Inspection } from '../index.js'

export interface Work {
  /** Multiply-adds of the weight matrices for a token of a prompt; logits are computed for the last one only. */
  readonly macsPerPromptToken: number
  /** Bytes of weights that generating one token reads. */
  readonly bytesPerToken: number
}

export function workOfPlan(plan: Inspection['plan'], bytesOf: (name: string) => number): Work {
  let macsPerPromptToken = 0
  let bytesPerToken = 0
  plan.steps.forEach((step, at) => {
    if (step.op !== 'linear') return
    const operand = step.weights.weight ?? []
    for (const index of typeof operand === 'number' ? [operand] : operand) {
      const { name, shape } = plan.weights[index]!
      bytesPerToken += bytesOf(name)
      if (at < plan.headStep) macsPerPromptToken += shape[0]! * shape[1]!
    }
  })
  return { macsPerPromptToken, bytesPerToken }
}
