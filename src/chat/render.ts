/**
 * Renders chat templates off the event loop. A template is a program out of a file that anybody may have made. Its Budget
 * bounds text, lists and time, but two seconds would still stop the event loop, so templates run on a worker thread; that is
 * ended should a template find a way to hold it. The thread's own memory limit would not do: V8 may end the process at it.
 */
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { InfernodeError } from '../errors.js'
import { packageRoot } from '../native.js'
import type { RenderReply, RenderRequest } from './render-worker.js'

/** Well beyond the limit that a Budget sets. Real conversations render in a few milliseconds. */
const timeLimitMs = 10_000

let worker: Worker | undefined
let last: Promise<unknown> = Promise.resolve()

/**
 * The text of `template` with each of `variables` (plain data). Renders one template after another, in the order of the calls.
 * @throws CHAT_TEMPLATE_INVALID with the template's complaint, or because it takes too much time, memory or room
 */
export function renderChat(template: string, ...variables: RenderRequest['variables']): Promise<string[]> {
  const result = last.then(() => run({ template, variables }))
  last = result.catch(() => {})
  return result
}

async function run(request: RenderRequest): Promise<string[]> {
  const reply = await ask(request)
  if ('error' in reply) throw new InfernodeError('CHAT_TEMPLATE_INVALID', reply.error.replace(/\.$/, ''))
  return reply.texts
}

function ask(request: RenderRequest): Promise<RenderReply> {
  // It lies beside this file in the package; tests that run the sources use the built one.
  worker ??= new Worker(join(packageRoot, 'dist', 'chat', 'render-worker.js'), { execArgv: [] })
  const current = worker
  return new Promise((resolve) => {
    const finish = (reply: RenderReply, reusable: boolean): void => {
      clearTimeout(timer)
      current.off('message', onMessage).off('error', onError).off('exit', onExit)
      // An idle worker does not keep the process alive; an ended one may still have something to say that nobody waits for.
      if (reusable) current.unref()
      else {
        worker = undefined
        current.on('error', () => {})
        void current.terminate()
      }
      resolve(reply)
    }
    const onMessage = (reply: RenderReply): void => finish(reply, true)
    const onError = (cause: Error): void => finish({ error: cause.message }, false)
    const onExit = (): void => finish({ error: 'its thread ended' }, false)
    const timer = setTimeout(() => finish({ error: `it takes longer than ${timeLimitMs / 1000} seconds` }, false), timeLimitMs)
    current.on('message', onMessage).on('error', onError).on('exit', onExit)
    current.ref()
    current.postMessage(request)
  })
}
