/** The feed for whoever watches: two channels of node:diagnostics_channel, which cost nothing while nobody subscribes. */
import { channel } from 'node:diagnostics_channel'
import type { NativeEngine, NativeStep } from './native.js'

/** `infernode:request`: when a generation is asked for, and when it ends. */
export interface RequestMessage {
  readonly event: 'started' | 'ended' | 'failed'
  /** `model.info.name`. */
  readonly model: string
  /** The same number in all messages of one Generate. */
  readonly request: number
  /** With `ended`. */
  readonly finishReason?: 'stop' | 'length' | 'aborted'
  readonly usage?: { readonly promptTokens: number; readonly cachedTokens: number; readonly completionTokens: number }
  readonly timings?: { readonly queuedMs: number; readonly promptMs: number; readonly generationMs: number }
  /** With `failed`. */
  readonly error?: unknown
}

/** `infernode:step`: one step of a model's engine, told after it. */
export interface StepMessage extends NativeStep {
  /** `model.info.name`. */
  readonly model: string
}

const requests = channel('infernode:request')
const steps = channel('infernode:step')
const watched = new WeakSet<NativeEngine>()
let numbers = 0

/** Tells of one request, and has the engine tell of its steps while somebody listens. */
export class RequestFeed {
  readonly #model: string
  readonly #request = ++numbers

  constructor(engine: NativeEngine, model: string) {
    this.#model = model
    watchSteps(engine, model)
    this.tell('started')
  }

  tell(event: RequestMessage['event'], more: () => Partial<RequestMessage> = () => ({})): void {
    if (!requests.hasSubscribers) return
    requests.publish({ event, model: this.#model, request: this.#request, ...more() } satisfies RequestMessage)
  }
}

/** Nobody tells when a subscriber comes, so every request looks; when the last has gone, the next step finds out. */
function watchSteps(engine: NativeEngine, model: string): void {
  if (!steps.hasSubscribers || watched.has(engine)) return
  watched.add(engine)
  engine.watchSteps((step) => {
    if (steps.hasSubscribers) return steps.publish({ model, ...step } satisfies StepMessage)
    watched.delete(engine)
    engine.watchSteps(null)
  })
}
