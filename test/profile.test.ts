/** Profiles: what the threads of a model did, op by op. */
import { describe, expect, it } from 'vitest'
import { Model, Profile } from '../src/index.js'

interface TraceEvent {
  ph: string
  pid: number
  tid: number
  name: string
  ts: number
  dur: number
  args: Record<string, unknown>
}

const story = (model: Model) => model.generate('Once upon a time', { seed: 1, maxTokens: 12 }).result()

describe('a profile', () => {
  it('holds every op of every step, and changes no token', async () => {
    await using model = await Model.load()
    const { tokens, usage } = await story(model)
    let profiled: Awaited<ReturnType<typeof story>> | undefined
    const profile = await model.profile(async () => (profiled = await story(model)))
    expect(profiled!.tokens).toEqual(tokens)
    // One step for the prompt, which gives the first token; one for each further token.
    expect(profile.steps).toBe(usage.completionTokens)
    expect(profile.lost).toBe(0)
    expect(profile.threads).toBeGreaterThanOrEqual(1)
    expect(profile.threads).toBeLessThanOrEqual(model.info.threads)
    const linear = profile.ops.find(({ op }) => op === 'linear')!
    const attention = profile.ops.find(({ op }) => op === 'attention')!
    expect(linear.type).toBe('q8_0')
    expect(attention.type).toBe('f16')
    expect(attention.calls % profile.steps).toBe(0)
    for (const { share, busy, gigabytesPerSecond, milliseconds } of profile.ops) {
      for (const value of [share, busy, gigabytesPerSecond, milliseconds]) expect(value).toBeGreaterThan(0)
      expect(busy).toBeLessThanOrEqual(1.0001)
    }
    expect(linear.gigaopsPerSecond).toBeGreaterThan(0)
    expect(profile.ops.reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(1, 6)
  })

  it('is a trace that Perfetto opens: complete events within their steps, named threads', async () => {
    await using model = await Model.load(undefined, { threads: 2 })
    const profile = await model.profile(() => story(model))
    const { traceEvents } = JSON.parse(JSON.stringify(profile.toChromeTrace())) as { traceEvents: TraceEvent[] }
    const steps = traceEvents.filter(({ ph, tid }) => ph === 'X' && tid === 0)
    const ops = traceEvents.filter(({ ph, tid }) => ph === 'X' && tid > 0)
    expect(steps.filter(({ name }) => name === 'step')).toHaveLength(profile.steps)
    expect(steps[0]!.args.tokens).toBeGreaterThan(1)
    for (const { ts, dur, args } of ops) {
      const run = steps[args.run as number]!
      expect(ts).toBeGreaterThanOrEqual(run.ts)
      expect(ts + dur).toBeLessThanOrEqual(run.ts + run.dur + 0.001)
      expect(args.label).toEqual(expect.any(String))
    }
    // Pieces of one thread follow each other.
    for (const tid of new Set(ops.map((op) => op.tid))) {
      const own = ops.filter((op) => op.tid === tid).sort((a, b) => a.ts - b.ts)
      own.slice(1).forEach((op, i) => expect(op.ts).toBeGreaterThanOrEqual(own[i]!.ts + own[i]!.dur - 0.001))
      expect(traceEvents).toContainEqual({ ph: 'M', pid: 1, tid, name: 'thread_name', args: { name: `thread ${tid - 1}` } })
    }
  })

  it.each([
    { threads: 1, promptThreads: 2 },
    { threads: 2, promptThreads: 1 },
    { threads: 1, promptThreads: undefined },
  ])('shows a prompt on $promptThreads threads and generation on $threads', async ({ threads, promptThreads }) => {
    await using model = await Model.load(undefined, promptThreads === undefined ? { threads } : { threads, promptThreads })
    expect(model.info).toMatchObject({ threads, promptThreads: promptThreads ?? threads })
    const profile = await model.profile(() => story(model))
    const traceEvents = profile.toChromeTrace().traceEvents as TraceEvent[]
    const runs = traceEvents.filter(({ ph, tid }) => ph === 'X' && tid === 0)
    // A body and its head each: first the prompt, then a token at a time.
    expect(runs.map(({ name }) => name).slice(0, 4)).toEqual(['step', 'head', 'step', 'head'])
    expect(runs.map(({ args }) => args.threads)).toEqual(runs.map((_, i) => (i < 2 ? (promptThreads ?? threads) : threads)))
    for (const { ph, tid, args } of traceEvents)
      if (ph === 'X' && tid > 0) expect(tid).toBeLessThanOrEqual(runs[args.run as number]!.args.threads as number)
  })

  it('tells what sharing out the work costs an op', async () => {
    await using model = await Model.load(undefined, { threads: 2 })
    const profile = await model.profile(() => story(model))
    const calls = profile.ops.reduce((sum, op) => sum + op.calls, 0)
    const lost = profile.ops.reduce((sum, op) => sum + op.calls * op.overheadMicroseconds, 0)
    expect(profile.overheadMicroseconds).toBeCloseTo(lost / calls, 6)
    // All of the runs' time is work, shared out among two, or lost.
    const traceEvents = profile.toChromeTrace().traceEvents as TraceEvent[]
    const sum = (among: (event: TraceEvent) => boolean) => traceEvents.filter(({ ph }) => ph === 'X').filter(among).reduce((all, { dur }) => all + dur, 0)
    expect(lost).toBeCloseTo(sum(({ tid }) => tid === 0) - sum(({ tid }) => tid > 0) / 2, 3)
    for (const { overheadMicroseconds } of profile.ops) expect(overheadMicroseconds).toBeGreaterThanOrEqual(0)
  })

  it('that is full says how much it lost', async () => {
    await using model = await Model.load()
    const profile = await model.profile(() => story(model), { maxEvents: 10 })
    expect(profile.lost).toBeGreaterThan(0)
    expect(profile.ops.reduce((sum, { calls }) => sum + calls, 0)).toBeLessThanOrEqual(10)
  })

  it('of no work is empty; of work that fails there is none', async () => {
    await using model = await Model.load()
    const profile = await model.profile(async () => {})
    expect(profile).toBeInstanceOf(Profile)
    expect({ ops: profile.ops, steps: profile.steps, lost: profile.lost }).toEqual({ ops: [], steps: 0, lost: 0 })
    await expect(model.profile(() => Promise.reject(new Error('mine')))).rejects.toThrow('mine')
    await expect(model.profile(undefined as never)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await expect(model.profile(async () => {}, { maxEvents: 0 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  it('ends with the model', async () => {
    const model = await Model.load()
    const profile = await model.profile(() => model.dispose())
    expect(profile.steps).toBe(0)
    await expect(model.profile(async () => {})).rejects.toMatchObject({ code: 'DISPOSED' })
  })
})
