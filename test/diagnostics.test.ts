/** The feed of requests and steps, for whoever subscribes. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { Model, type RequestMessage, type StepMessage } from '../src/index.js'

it('tells of requests and steps while somebody subscribes, and not afterwards', async () => {
  await using model = await Model.load(undefined, { cacheTokens: 1024 })
  const requests: RequestMessage[] = []
  const steps: StepMessage[] = []
  const onRequest = (message: unknown): void => void requests.push(message as RequestMessage)
  const onStep = (message: unknown): void => void steps.push(message as StepMessage)
  await model.generate('Once', { maxTokens: 3 }).result()
  subscribe('infernode:request', onRequest)
  subscribe('infernode:step', onStep)
  const { usage, timings, finishReason } = await model.generate('Once upon a time', { maxTokens: 12, logitBias: { 0: -Infinity } }).result()
  await model.generate('x '.repeat(2000)).result().catch(() => {})
  await sleep(20)
  expect(requests.map(({ event }) => event)).toEqual(['started', 'ended', 'started', 'failed'])
  expect(requests[1]).toEqual({ event: 'ended', model: model.info.name, request: requests[0]!.request, finishReason, usage, timings })
  expect(requests[3]).toMatchObject({ request: requests[2]!.request, error: { code: 'PROMPT_TOO_LONG' } })
  expect(steps.length).toBeGreaterThanOrEqual(12)
  expect(steps.reduce((sum, { generatedTokens }) => sum + generatedTokens, 0)).toBe(12)
  expect(steps[0]).toMatchObject({ model: model.info.name, sequences: 1, waiting: 0 })
  expect(steps[0]!.ms).toBeGreaterThan(0)
  unsubscribe('infernode:request', onRequest)
  unsubscribe('infernode:step', onStep)
  const [nRequests, nSteps] = [requests.length, steps.length]
  await model.generate('Once', { maxTokens: 5 }).result()
  subscribe('infernode:step', onStep) // again: from the next request on
  await model.generate('Once', { maxTokens: 5, logitBias: { 0: -Infinity } }).result()
  await sleep(20)
  unsubscribe('infernode:step', onStep)
  expect(requests.length).toBe(nRequests)
  expect(steps.length).toBeGreaterThan(nSteps)
})
