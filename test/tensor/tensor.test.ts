/** Creation, views, printing, errors, lifetimes, and not holding the event loop. */
import { execFile } from 'node:child_process'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { promisify } from 'node:util'
import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { Tensor } from '../../src/tensor.js'
import { plain, random, randomNumbers, read, tensorOf } from './support.js'

const run = promisify(execFile)
const anything = (t: unknown): Tensor<'f32'> => t as Tensor<'f32'>

describe('creation', () => {
  it('copies or adopts, as its name says', async () => {
    const array = Float32Array.of(1, 2, 3, 4)
    const copy = Tensor.copyOf(array, [2, 2])
    array[0] = 9
    expect([...copy.readSync()]).toEqual([1, 2, 3, 4])
    const part = new Float32Array(new ArrayBuffer(64), 4, 3)
    part.set([5, 6, 7])
    const adopted = Tensor.adopt(part)
    expect(part.length).toBe(0)
    expect([...(await (await adopted.add(1)).read())]).toEqual([6, 7, 8])
  })

  it('refuses memory that cannot be adopted, is detached or has another size', () => {
    const shared = new Float32Array(new SharedArrayBuffer(16))
    expect(() => Tensor.adopt(shared)).toThrow(/SharedArrayBuffer/)
    expect([...Tensor.copyOf(shared).readSync()]).toEqual([0, 0, 0, 0])
    expect(() => Tensor.adopt(Buffer.from('pooled') as Uint8Array)).toThrow(/copyOf/)
    const gone = new Float32Array(4)
    structuredClone(gone.buffer, { transfer: [gone.buffer] })
    expect(() => Tensor.copyOf(gone, [4])).toThrow(expect.objectContaining({ code: 'TENSOR_DETACHED' }))
    expect(() => Tensor.copyOf(new Float32Array(3), [2, 2])).toThrow(/f32\[2, 2\] and a Float32Array\(3\)/)
    expect(() => Tensor.copyOf(new Uint8Array(34), [33], 'q8_0')).toThrow(/multiple of 32/)
    expect(() => Tensor.from([[1, 2], [3]])).toThrow(/arrays of 2/)
    expect(() => Tensor.zeros([-1])).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
    expect(() => Tensor.full([2 ** 40], 1)).toThrow(expect.objectContaining({ code: 'OUT_OF_MEMORY' }))
  })

  it('fills, counts, and draws the same values for a seed', async () => {
    expect([...Tensor.full([3], 2, { dtype: 'i8' }).readSync()]).toEqual([2, 2, 2])
    expect([...Tensor.arange(3).readSync(), ...Tensor.arange(5, 2, -1, { dtype: 'i32' }).readSync()]).toEqual([
      0, 1, 2, 5, 4, 3,
    ])
    const whole = await Tensor.random([1000, 1000], { seed: 4 }).read()
    expect([...whole.slice(0, 5)]).toEqual([...Tensor.random([5], { seed: 4 }).readSync()])
    const mean = (await Tensor.randomNormal([300000], { seed: 5, mean: 2 }).mean()).item()
    const square = (await (await Tensor.randomNormal([300000], { seed: 5 }).map('square')).mean()).item()
    expect(Math.abs(mean - 2)).toBeLessThan(0.01) // 5 standard errors
    expect(Math.abs(square - 1)).toBeLessThan(0.015)
  })
})

describe('views', () => {
  it('share memory, and outlive what they were made of', async () => {
    const x = Tensor.arange(24).reshape([2, 3, 4])
    const part = x.slice(1, [0, 2]).transpose()
    x.dispose()
    expect(part.shape).toEqual([4, 2])
    expect([...part.readSync()]).toEqual([12, 16, 13, 17, 14, 18, 15, 19])
    expect(part.isContiguous).toBe(false)
    expect(() => part.reshape([8])).toThrow(/contiguous/)
    expect([...(await part.contiguous()).reshape([-1]).readSync()]).toEqual([12, 16, 13, 17, 14, 18, 15, 19])
    expect([...Tensor.arange(6).reshape([2, 3]).reshape([3, 2]).slice(null, 1).readSync()]).toEqual([1, 3, 5])
    expect(Tensor.arange(8).reshape([2, 4]).transpose().reshape([2, 2, 2]).shape).toEqual([2, 2, 2])
    expect([...Tensor.arange(2).reshape([2, 1]).broadcastTo([2, 3]).readSync()]).toEqual([0, 0, 0, 1, 1, 1])
  })

  it('are what copying by index gives, for random shapes', () => {
    const next = randomNumbers(11)
    for (let round = 0; round < 300; round++) {
      const shape = Array.from({ length: 1 + Math.floor(next() * 4) }, () => Math.floor(next() * 5))
      const size = shape.reduce((p, n) => p * n, 1)
      let [t, places] = [
        Tensor.arange(size, undefined, 1, { dtype: 'i32' }).reshape(shape) as Tensor,
        Array.from({ length: size }, (_, i) => i),
      ]
      for (let step = 0; step < 3; step++) {
        const from = t.shape
        const strides = from.map((_, d) => from.slice(d + 1).reduce((p, n) => p * n, 1))
        const indicesOf = (i: number, s: readonly number[], sh: readonly number[]) =>
          sh.map((n, d) => Math.floor(i / s[d]!) % n)
        if (next() < 0.5) {
          const axes = from.map((_, d) => d).sort(() => next() - 0.5)
          const to = axes.map((a) => from[a]!)
          const toStrides = to.map((_, d) => to.slice(d + 1).reduce((p, n) => p * n, 1))
          places = Array.from({ length: places.length }, (_, i) => {
            const at = indicesOf(i, toStrides, to)
            return places[axes.reduce((p, a, d) => p + at[d]! * strides[a]!, 0)]!
          })
          t = t.transpose(axes)
        } else {
          const begin = from.map((n) => Math.floor(next() * (n + 1)))
          const end = from.map((n, d) => begin[d]! + Math.floor(next() * (n - begin[d]! + 1)))
          places = places.filter((_, i) => indicesOf(i, strides, from).every((x, d) => x >= begin[d]! && x < end[d]!))
          t = t.slice(...begin.map((b, d) => [b, end[d]!] as const))
        }
      }
      expect([...t.readSync()]).toEqual(places)
    }
  })
})

describe('printing', () => {
  it('aligns, shortens, and says what it cannot show', async () => {
    expect(
      String(
        Tensor.from([
          [1, -2.5],
          [NaN, 10],
        ]),
      ),
    ).toBe('Tensor f32[2, 2]\n[[ 1.0, -2.5],\n [ nan, 10.0]]')
    expect(inspect(Tensor.from([true, false], { dtype: 'bool' }))).toBe('Tensor bool[2] [ true, false]')
    expect(String(Tensor.arange(2000))).toBe('Tensor f32[2000] [   0.,    1.,    2., …, 1997., 1998., 1999.]')
    expect(String(Tensor.from(3))).toBe('Tensor f32[] 3.')
    expect(String(Tensor.zeros([0, 3]))).toBe('Tensor f32[0, 3] []')
    expect(String(Tensor.from([1e-7, 1]))).toBe('Tensor f32[2] [1.0000e-7, 1.0000e+0]')
    const blocks = await Tensor.zeros([32]).quantize('q8_0')
    expect(String(blocks)).toBe('Tensor q8_0[32]')
    blocks.dispose()
    expect(String(blocks)).toBe('Tensor q8_0[32] (disposed)')
  })
})

describe('mistakes', () => {
  it('name both shapes', async () => {
    const a = anything(Tensor.zeros([2, 3]))
    const wrong: [string, () => unknown, RegExp][] = [
      ['matmul', () => a.matmul(anything(Tensor.zeros([4, 5]))), /f32\[2, 3\] and f32\[4, 5\]/],
      ['add', () => a.addSync(anything(Tensor.zeros([2]))), /f32\[2, 3\] and f32\[2\]/],
      ['dtypes', () => a.add(anything(Tensor.zeros([2, 3], { dtype: 'i32' }))), /f32\[2, 3\] and i32\[2, 3\]/],
      ['reshape', () => a.reshape([4]), /f32\[2, 3\] and \[4\]/],
      ['quantized', () => a.matmul(anything(Tensor.zeros([3, 32], { dtype: 'q8_0' }))), /transposeB/],
      ['norm', () => a.rmsNorm(Tensor.zeros([2])), /f32\[2, 3\] and f32\[2\]/],
      [
        'attention',
        () => anything(Tensor.zeros([4, 2, 8])).attention(Tensor.zeros([3, 1, 8]), Tensor.zeros([3, 1, 8])),
        /as many keys \(3\) as queries \(4\)/,
      ],
      ['readInto', () => a.readInto(new Float32Array(5)), /f32\[2, 3\] and a Float32Array\(5\)/],
    ]
    for (const [name, call, text] of wrong) await expect(async () => call(), name).rejects.toThrow(text)
    for (const [name, call] of wrong) await expect(async () => call(), name).rejects.toMatchObject({ name: 'InfernodeError' })
  })

  it('disposed tensors refuse, and a second dispose does nothing', async () => {
    const a = Tensor.zeros([2])
    a.dispose()
    a[Symbol.dispose]()
    await expect(async () => a.add(1)).rejects.toMatchObject({ code: 'DISPOSED' })
    expect(() => a.reshape([2])).toThrow(expect.objectContaining({ code: 'DISPOSED' }))
    await expect(Tensor.zeros([2]).add(a)).rejects.toMatchObject({ code: 'DISPOSED' })
  })

  it('synchronous calls are limited', () => {
    const large = Tensor.zeros([600, 600])
    expect(() => large.addSync(1)).toThrow(expect.objectContaining({ code: 'TOO_LARGE_FOR_SYNC' }))
    expect(() => Tensor.zeros([200, 300]).matmulSync(Tensor.zeros([300, 200]))).toThrow(
      expect.objectContaining({ code: 'TOO_LARGE_FOR_SYNC' }),
    )
    expect(() => Tensor.zeros([2000, 2000]).readSync()).toThrow(expect.objectContaining({ code: 'TOO_LARGE_FOR_SYNC' }))
    expect(() => Tensor.random([3000, 1000]).item()).toThrow(expect.objectContaining({ code: 'TENSOR_MISMATCH' }))
  })

  it('structuredClone refuses a tensor', () => {
    expect(() => structuredClone(Tensor.zeros([2]))).toThrow(/post its read/)
  })
})

describe('long work', () => {
  it('gives the same bits synchronously and on all threads', async () => {
    const [a, b] = [tensorOf(random([40, 50], 1)), tensorOf(random([50, 60], 2))]
    expect(await (await a.matmul(b)).read()).toEqual(a.matmulSync(b).readSync())
    expect(await (await a.softmax()).read()).toEqual(a.softmaxSync().readSync())
  })

  it('holds what it reads', async () => {
    const a = Tensor.random([700, 700], { seed: 1 })
    const expected = (await (await a.matmul(a)).sum()).item()
    const b = Tensor.random([700, 700], { seed: 1 })
    const product = b.matmul(b)
    b.dispose()
    expect((await (await product).sum()).item()).toBe(expected)
    const adopted = Tensor.adopt(await a.read(), [700, 700])
    const other = adopted.matmul(adopted)
    adopted.dispose()
    expect((await (await other).sum()).item()).toBe(expected)
  })

  it('is cut short by a signal', async () => {
    const a = Tensor.random([2000, 2000], { seed: 1 })
    const controller = new AbortController()
    const product = a.matmul(a, { signal: controller.signal })
    setTimeout(() => controller.abort(new Error('enough')), 5)
    await expect(product).rejects.toMatchObject({ code: 'ABORTED', cause: { message: 'enough' } })
    await expect(a.add(1, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'ABORTED' })
    expect((await a.slice([0, 2]).sum()).item()).toBeGreaterThan(0)
  })

  it('leaves the event loop alone', async () => {
    const delay = monitorEventLoopDelay({ resolution: 1 })
    const a = await Tensor.random([1024, 1024], { seed: 1 }).ready()
    delay.enable()
    for (let i = 0; i < 4; i++) (await a.matmul(a)).dispose()
    await a.read()
    delay.disable()
    expect(delay.percentile(50) / 1e6).toBeLessThan(25)
    expect(delay.max / 1e6).toBeLessThan(500) // other processes share the cores
  })

  it('any order of random calls gives values or InfernodeErrors', async () => {
    const next = randomNumbers(23)
    const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)]!
    const pool: Tensor[] = [
      Tensor.arange(6),
      Tensor.zeros([2, 3]),
      Tensor.zeros([3, 32], { dtype: 'q8_0' }),
      Tensor.from([1, 2], { dtype: 'i32' }),
      Tensor.zeros([0, 4]),
    ]
    const sizes = [-1, 0, 1, 2, 3, 6, 32, 1.5, NaN]
    const calls: ((t: Tensor<'f32'>, u: Tensor<'f32'>) => unknown)[] = [
      (t, u) => t.add(u),
      (t, u) => t.pow(u),
      (t, u) => t.matmul(u, { transposeB: next() < 0.5 }),
      (t) => t.sum(pick(sizes)),
      (t) => t.argmax([pick(sizes), pick(sizes)], { keepDims: true }),
      (t) => t.softmax(pick(sizes)),
      (t) => t.reshape([pick(sizes), pick(sizes)]),
      (t) => t.slice([pick(sizes), pick(sizes)], null),
      (t) => t.slice(pick(sizes)),
      (t) => t.transpose(),
      (t) => t.transpose([1, pick(sizes), 0]),
      (t) => t.broadcastTo([pick(sizes), pick(sizes), 2]),
      (t) => t.cast(pick(['f16', 'i8', 'bool', 'i32', 'f32', 'q8_0'] as const) as 'f32'),
      (t) => t.quantize(pick(['q8_0', 'q4_0', 'q6_k', 'f32'] as const) as 'q8_0'),
      (t) => t.dequantize(),
      (t, u) => t.rmsNorm(u, { eps: pick(sizes) }),
      (t, u) => t.layerNorm(u, u),
      (t) => t.rope({ dims: pick(sizes), start: pick(sizes) }),
      (t, u) => t.embedding(u as never),
      (t, u) => t.attention(u, u, { causal: next() < 0.5, window: pick(sizes) }),
      (t, u) => t.int8Matmul(u as never, { zeroA: pick(sizes) }),
      (t) => t.topK(pick(sizes)),
      (t, u) => t.where(u, u),
      (t) => t.mapSync(pick(['exp', 'log', 'gelu', 'nothing'] as const) as 'exp'),
      (t) => t.dispose(),
    ]
    for (let i = 0; i < 3000; i++) {
      try {
        const result = await pick(calls)(anything(pick(pool)), anything(pick(pool)))
        if (result instanceof Tensor && result.size < 1000) pool[Math.floor(next() * 40)] = result
        for (let j = 0; j < 40; j++) pool[j] ??= Tensor.from([[1, 2, 3]])
        if (pool.length > 40) pool.length = 40
        if (i % 50 === 0) pool[0] = Tensor.random([3, 2, 4], { seed: i })
      } catch (error) {
        expect(error, `${(error as Error).stack}`).toMatchObject({ name: 'InfernodeError' })
        expect((error as { code: string }).code, (error as Error).message).not.toBe('INTERNAL')
      }
    }
  })
})

describe('memory', () => {
  it('is freed by the garbage collector where nobody disposed', async () => {
    const script = `
      import { Tensor } from 'infernode'
      const used = () => { for (let i = 0; i < 4; i++) gc(); return process.memoryUsage() }
      const turn = () => new Promise((resolve) => setTimeout(resolve, 5))
      const round = async () => { for (let i = 0; i < 40; i++) { const a = Tensor.full([1024, 1024], i); await a.add(1); Tensor.adopt(new Float32Array(1 << 20)) } }
      await round(); used(); await turn(); const before = used()
      await round(); await round(); used(); await turn(); used(); await turn(); const after = used()
      console.log(after.external - before.external, after.rss - before.rss)`
    const { stdout } = await run(process.execPath, ['--expose-gc', '--input-type=module', '-e', script], {
      cwd: new URL('../..', import.meta.url).pathname,
    })
    const [external, rss] = stdout.trim().split(' ').map(Number)
    expect(external).toBeLessThan(16 << 20)
    expect(rss).toBeLessThan(100 << 20) // 640 MB were made
  })

  it('goes back to the system once operations rest', async () => {
    const script = `
      import { Tensor } from 'infernode'
      const resident = () => process.memoryUsage.rss()
      const turn = () => new Promise((resolve) => setTimeout(resolve, 50))
      const a = Tensor.full([1024, 1024], 1)
      const round = async (n) => { const all = []; for (let i = 0; i < n; i++) all.push(await a.add(i)); for (const x of all) x.dispose() }
      await round(1)
      for (const before = resident(), end = Date.now() + 20_000; Date.now() < end && resident() > before - (2 << 20); ) await turn() // what it kept
      const before = resident()
      await round(12)
      const busy = resident() - before
      for (const end = Date.now() + 20_000; Date.now() < end && resident() - before > 16 << 20; ) await turn()
      console.log(busy, resident() - before)`
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script], {
      cwd: new URL('../..', import.meta.url).pathname,
    })
    const [busy, rest] = stdout.trim().split(' ').map(Number)
    expect(busy).toBeLessThan(80 << 20)
    expect(rest).toBeLessThan(16 << 20)
  })

  it('that was used before is zeros where zeros are asked for', async () => {
    const soil = async () => {
      for (let i = 0; i < 3; i++) (await Tensor.full([1024, 1024], 7).add(1)).dispose()
    }
    await soil()
    expect((await Tensor.zeros([1024, 1024]).max()).item()).toBe(0)
    await soil()
    const [x, w] = [Tensor.zeros([1024, 0]), Tensor.zeros([0, 1024])]
    const product = await x.matmul(w)
    expect((await (await product.mul(product)).sum()).item()).toBe(0)
    await soil()
    expect((await (await Tensor.zeros([1024, 1024, 0]).sum([2])).max()).item()).toBe(0)
  })

  it('of a worker that ends in mid-work harms nobody', async () => {
    const script = `
      import { Worker } from 'node:worker_threads'
      import { Tensor } from 'infernode'
      const code = "import('infernode').then(({ Tensor }) => { const a = Tensor.adopt(new Float32Array(1 << 20), [1024, 1024]); for (let i = 0; i < 20; i++) a.matmul(a); Tensor.random([5000, 1000]) })"
      const a = Tensor.random([300, 300], { seed: 1 }), expected = (await (await a.matmul(a)).sum()).item()
      for (let i = 0; i < 8; i++) {
        const worker = new Worker(code, { eval: true })
        await new Promise((resolve) => setTimeout(resolve, 40 + 20 * i))
        const product = a.matmul(a)
        await worker.terminate()
        if ((await (await product).sum()).item() !== expected) throw new Error('wrong')
      }
      console.log('done')`
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script], {
      cwd: new URL('../..', import.meta.url).pathname,
    })
    expect(stdout.trim()).toBe('done')
  })
})

describe('reading', () => {
  it('copies into an array that exists, also of views', async () => {
    const x = tensorOf(plain([3, 4], (i) => i))
    const into = new Float32Array(8).subarray(2, 8)
    await x.slice(null, [1, 3]).readInto(into)
    expect([...into]).toEqual([1, 2, 5, 6, 9, 10])
    expect((await read(x.transpose())).data[1]).toBe(4)
    const detached = new Float32Array(12)
    structuredClone(detached.buffer, { transfer: [detached.buffer] })
    await expect(x.readInto(detached)).rejects.toMatchObject({ code: 'TENSOR_DETACHED' })
  })
})
