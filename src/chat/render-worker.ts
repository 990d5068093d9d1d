/** The thread that templates run on; started by render.ts, which ends it when one takes too long. */
import { parentPort } from 'node:worker_threads'
import { compileTemplate, type Program, renderTemplate } from './jinja.js'

/** Renders one template with each of `variables`. */
export interface RenderRequest {
  readonly template: string
  readonly variables: readonly Readonly<Record<string, unknown>>[]
}

export type RenderReply = { readonly texts: string[] } | { readonly error: string }

let compiled: { template: string; program: Program } | undefined

function render({ template, variables }: RenderRequest): RenderReply {
  try {
    if (compiled?.template !== template) compiled = { template, program: compileTemplate(template) }
    const { program } = compiled
    return { texts: variables.map((each) => renderTemplate(program, each)) }
  } catch (cause) {
    // Too deep a recursion is a RangeError, so it ends here too.
    return { error: cause instanceof Error ? cause.message : String(cause) }
  }
}

parentPort?.on('message', (request: RenderRequest) => parentPort!.postMessage(render(request)))
