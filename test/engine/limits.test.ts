/** What a model takes at most: memory by `maxMemory`, CPUs by the affinity mask and the cgroup's quota. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { Model } from '../../src/index.js'
import { embeddedModel } from '../../src/model.js'

const slow = { timeout: 60_000 }

async function refusal(options: Parameters<typeof Model.load>[1]): Promise<{ code: string; numbers: number[]; message: string }> {
  const error = await Model.load(embeddedModel, options).then(
    async (model) => {
      await model.dispose()
      throw new Error('it was loaded')
    },
    (error: { code: string; message: string }) => error,
  )
  const numbers = [...error.message.matchAll(/\d[\d,]*/g)].map(([digits]) => Number(digits.replaceAll(',', '')))
  return { code: error.code, numbers, message: error.message }
}

describe('maxMemory', () => {
  it('refuses a model that needs more, with the numbers, and loads one that needs just that', async () => {
    const { code, numbers, message } = await refusal({ maxMemory: 1000 })
    expect(code).toBe('MEMORY_LIMIT')
    const [needed, weights, kv, scratch, limit] = numbers as [number, number, number, number, number]
    expect({ limit, sum: weights + kv + scratch }, message).toEqual({ limit: 1000, sum: needed })
    await using model = await Model.load(embeddedModel, { maxMemory: needed })
    const { kvBytes, scratchBytes } = model.stats()
    expect({ kvBytes, scratchBytes }).toEqual({ kvBytes: kv, scratchBytes: scratch })
    // Nothing that a step does takes more than was counted.
    const before = model.stats()
    await Promise.all(
      Array.from({ length: 8 }, (_, seed) => model.generate('Once upon a time '.repeat(20), { seed, maxTokens: 100 }).result()),
    )
    expect(model.stats().scratchBytes).toBe(before.scratchBytes)
    expect((await refusal({ maxMemory: needed - 1 })).code).toBe('MEMORY_LIMIT')
  })

  it('counts a smaller cache as less, and files that are read as more', async () => {
    const [, weights, kv] = (await refusal({ maxMemory: 1, cacheTokens: 2048 })).numbers as [number, number, number]
    const [, , halved] = (await refusal({ maxMemory: 1, cacheTokens: 1024 })).numbers as [number, number, number]
    const [, , small] = (await refusal({ maxMemory: 1, cacheTokens: 2048, kvType: 'f32' })).numbers as [number, number, number]
    expect({ halved, double: small }).toEqual({ halved: kv / 2, double: kv * 2 })
    const [, read] = (await refusal({ maxMemory: 1, mmap: false })).numbers as [number, number]
    expect(read - weights).toBe(readFileSync(embeddedModel).length)
  })

  it.each([0, -1, 1.5, NaN, '1'])('must be a whole number of bytes: not %s', async (maxMemory) => {
    await expect(Model.load(embeddedModel, { maxMemory: maxMemory as number })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  it.each([2 ** 30, 2 ** 31 - 1])('of nothing still leaves a cache of %i tokens an error or a cache, never a crash', async (cacheTokens) => {
    const loaded = await Model.load(embeddedModel, { cacheTokens, kvType: 'f32' }).catch((error: { code: string }) => error)
    if (loaded instanceof Model) await loaded.dispose()
    else expect(loaded.code).toMatch(/OUT_OF_MEMORY|INVALID_ARGUMENT/)
  })
})

/** What infernode tells a process that `command` starts. */
function threadsUnder(...command: string[]): { threads: number; threadsReason: string; inUse: number } {
  const script = `
    import { Model } from ${JSON.stringify(join(import.meta.dirname, '../../dist/index.js'))}
    import { readdirSync, readFileSync } from 'node:fs'
    const model = await Model.load()
    await model.generate('Once', { maxTokens: 4 }).result()
    const names = readdirSync('/proc/self/task').map((id) => readFileSync('/proc/self/task/' + id + '/comm', 'utf8').trim())
    const { threads, threadsReason } = model.info
    // The driver computes, too.
    console.log(JSON.stringify({ threads, threadsReason, inUse: 1 + names.filter((name) => name === 'infernode').length }))
    await model.dispose()`
  const [program, ...args] = [...command, process.execPath, '--input-type=module', '-e', script]
  return JSON.parse(execFileSync(program!, args, { encoding: 'utf8' }))
}

const hasTaskset = existsSync('/usr/bin/taskset')
if (!hasTaskset) console.warn('SKIPPED: there is no taskset here to test CPU affinity with')

/** A new cgroup of a quota of 1.5 cores, version 1 or 2, if we may make one. */
function groupOfOneAndAHalf(): string | undefined {
  const name = `infernode-test-${process.pid}`
  const tries = [
    { at: '/sys/fs/cgroup/cpu', limits: [['cpu.cfs_period_us', '100000'], ['cpu.cfs_quota_us', '150000']] },
    { at: '/sys/fs/cgroup', limits: [['cpu.max', '150000 100000']] },
  ] as const
  for (const { at, limits } of tries) {
    const folder = join(at, name)
    try {
      if (!existsSync(join(at, 'cgroup.procs'))) continue
      mkdirSync(folder)
      for (const [file, value] of limits) writeFileSync(join(folder, file), value)
      return folder
    } catch {
      if (existsSync(folder)) rmdirSync(folder)
    }
  }
  return undefined
}

describe.skipIf(process.platform !== 'linux')('threads', () => {
  it.skipIf(!hasTaskset)('follow the affinity mask: one under taskset -c 0', slow, () => {
    expect(threadsUnder('taskset', '-c', '0')).toEqual({ threads: 1, threadsReason: '1 physical core', inUse: 1 })
  })

  it('follow the cgroup quota: one under 1.5 cores', slow, (context) => {
    const group = groupOfOneAndAHalf()
    if (!group) {
      console.warn('SKIPPED: cgroups are not ours to make here; test/native/machine_test.cc replays recorded ones')
      return context.skip()
    }
    onTestFinished(() => rmdirSync(group))
    const quota = threadsUnder('sh', '-c', `echo $$ > ${group}/cgroup.procs && exec "$@"`, 'sh')
    // Where there is but one core, that is the reason.
    expect(quota.threadsReason).toMatch(/^a CPU quota of 1.5 cores$|^1 physical core/)
    expect({ ...quota, threadsReason: '' }).toEqual({ threads: 1, threadsReason: '', inUse: 1 })
  })
})
