/** Arithmetic, conversions and reductions against float64, on awkward lengths and layouts. */
import { describe, expect, it } from 'vitest'
import { Tensor } from '../../src/tensor.js'
import { unaryOps } from '../../src/tensor/calls.js'
import { at, broadcastWith, expectNear, fill, lengths, onEveryIsa, plain, random, read, tensorOf } from './support.js'

/** Units in the last place of f32: 2^-23 of a value at most. */
const ulp = 2 ** -23

// Φ by its series and continued fraction, in float64.
function normalCdf(x: number): number {
  const t = Math.abs(x)
  let tail
  if (t < 3) {
    let term = t
    let sum = t
    for (let k = 1; k < 200; k++) sum += term *= (t * t) / (2 * k + 1)
    tail = 0.5 - (sum * Math.exp((-t * t) / 2)) / Math.sqrt(2 * Math.PI)
  } else {
    let fraction = t
    for (let k = 200; k > 0; k--) fraction = t + k / fraction
    tail = Math.exp((-t * t) / 2) / fraction / Math.sqrt(2 * Math.PI)
  }
  return x < 0 ? tail : 1 - tail
}

const unary: Record<(typeof unaryOps)[number], (x: number) => number> = {
  neg: (x) => -x,
  abs: Math.abs,
  sqrt: Math.sqrt,
  exp: Math.exp,
  log: Math.log,
  tanh: Math.tanh,
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
  relu: (x) => (x < 0 ? 0 : x),
  square: (x) => x * x,
  reciprocal: (x) => 1 / x,
  silu: (x) => x / (1 + Math.exp(-x)),
  gelu: (x) => (Math.abs(x) === Infinity ? Math.max(x, 0) : x * normalCdf(x)),
  geluTanh: (x) => x / (1 + Math.exp(-2 * Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
}

const binary = {
  add: (x: number, y: number) => x + y,
  sub: (x: number, y: number) => x - y,
  mul: (x: number, y: number) => x * y,
  div: (x: number, y: number) => x / y,
  minimum: Math.min,
  maximum: Math.max,
}

onEveryIsa(() => {
  describe('functions of one value', () => {
    // Every exponent of f32, both signs, several fractions; then where functions are used.
    const everywhere = [0, -0, 1, -1, Infinity, -Infinity, NaN]
    for (let e = -149; e < 128; e++)
      for (const f of [1, 1.25, 1.41421, 1.9999]) everywhere.push(Math.fround(f * 2 ** e), -Math.fround(f * 2 ** e))
    for (let i = -3000; i <= 3000; i++) everywhere.push(Math.fround(i / 173))
    for (const op of unaryOps)
      it(`${op} is within a few units in the last place`, async () => {
        const x = plain([everywhere.length], (i) => everywhere[i]!)
        const y = await read(await tensorOf(x).map(op))
        // Products lose what their exponential's argument lost: that grows with it.
        const expected = plain(x.shape, (i) => unary[op](x.data[i]!))
        for (let i = 0; i < everywhere.length; i++) {
          const [found, wanted, from] = [y.data[i]!, expected.data[i]!, x.data[i]!]
          if (
            Object.is(found, Math.fround(wanted)) ||
            (Number.isNaN(found) && Number.isNaN(wanted)) ||
            found === Math.fround(wanted)
          )
            continue
          if (['silu', 'gelu', 'geluTanh'].includes(op) && from === -Infinity) continue // 0 · ∞: NaN is what a limit of 0 costs
          const allowed =
            (op === 'geluTanh' ? 4 + 3 * from * from : op === 'silu' || op === 'sigmoid' ? 6 : 4.5) * ulp * Math.abs(wanted) +
            2 ** -119 // e^x ends at 88.7
          if (!(Math.abs(found - wanted) <= allowed)) expect.fail(`${op}(${from}) is ${found}, expected ${wanted}`)
        }
      })

    it('any length, alignment and layout gives the same bits', async () => {
      for (const n of lengths) {
        const x = random([n + 3], n)
        const whole = await read(await tensorOf(x).map('exp'))
        const shifted = await tensorOf(x)
          .slice([3, n + 3])
          .map('exp')
        expect((await read(shifted)).data).toEqual(whole.data.subarray(3))
        const columns = tensorOf(random([n, 5], n + 1))
        const turned = await read(await columns.transpose().map('tanh'))
        const straight = await read(await columns.map('tanh'))
        expectNear(
          turned,
          fill([5, n], ([i, j]) => at(straight, [j!, i!])),
          {},
        )
      }
    })
  })

  describe('functions of two values', () => {
    const shapes: [number[], number[]][] = [
      [[7], [7]],
      [
        [3, 1],
        [1, 17],
      ],
      [[2, 3, 65], [65]],
      [
        [2, 1, 9],
        [3, 1],
      ],
      [[], [4, 4]],
      [[0, 5], [1]],
      [[1000], [1]],
    ]
    for (const [op, f] of Object.entries(binary))
      it(`${op} broadcasts and is rounded once`, async () => {
        for (const [left, right] of shapes) {
          const [a, b] = [random(left, 1), random(right, 2)]
          const result = await tensorOf(a)[op as 'add'](tensorOf(b))
          expectNear(
            await read(result as Tensor),
            broadcastWith(a, b, (x, y) => Math.fround(f(x, y))),
            {},
            `${op} ${left} ${right}`,
          )
        }
      })

    it('minimum and maximum keep NaN of either side', async () => {
      const a = Tensor.from([NaN, 1, NaN])
      const b = Tensor.from([1, NaN, NaN])
      expect([...(await read(await a.maximum(b))).data, ...(await read(await a.minimum(b))).data]).toEqual([
        NaN,
        NaN,
        NaN,
        NaN,
        NaN,
        NaN,
      ])
    })

    it('pow has the edges of IEEE 754 and is within 1.5 units elsewhere', async () => {
      const edges = [
        0,
        -0,
        1,
        -1,
        2,
        -2,
        0.5,
        -0.5,
        3,
        -3,
        1e30,
        -1e30,
        1e-30,
        Infinity,
        -Infinity,
        NaN,
        16777216,
        16777215,
        2 ** -149,
      ]
      const many = random([400], 3).data
      const x = plain([edges.length + 400, 1], (i) => edges[i] ?? Math.fround(Math.abs(many[i - edges.length]!) * 30))
      const y = plain([edges.length + 40], (i) => edges[i] ?? Math.fround(many[i - edges.length]! * 9))
      const expected = broadcastWith(x, y, (a, b) =>
        Math.abs(a) === 1 && Math.abs(b) === Infinity ? 1 : a === 1 ? 1 : Math.pow(a, b),
      )
      const overflow = plain(expected.shape, (i) => Math.fround(expected.data[i]!))
      const found = await read(await tensorOf(x).pow(tensorOf(y)))
      for (let i = 0; i < found.data.length; i++) {
        const [got, wanted] = [found.data[i]!, overflow.data[i]!]
        if (got === wanted || (Number.isNaN(got) && Number.isNaN(wanted))) continue
        if (!(Math.abs(got - expected.data[i]!) <= 1.5 * ulp * Math.abs(expected.data[i]!) + 2 ** -149)) {
          expect.fail(`${x.data[Math.floor(i / y.data.length)]} ^ ${y.data[i % y.data.length]} is ${got}, expected ${wanted}`)
        }
      }
    })

    it('integers wrap around, comparisons give bool', async () => {
      const a = Tensor.from([2147483647, -5, 7], { dtype: 'i32' })
      expect([...(await (await a.add(1)).read())]).toEqual([-2147483648, -4, 8])
      expect([...(await (await a.mul(a)).read())]).toEqual([1, 25, 49])
      const x = Tensor.from([1, 2, NaN, -0])
      const y = Tensor.from([1, 3, NaN, 0])
      const results = {
        equal: [1, 0, 0, 1],
        notEqual: [0, 1, 1, 0],
        less: [0, 1, 0, 0],
        lessEqual: [1, 1, 0, 1],
        greater: [0, 0, 0, 0],
        greaterEqual: [1, 0, 0, 1],
      }
      for (const [op, expected] of Object.entries(results))
        expect([...(await (await x.compare(op as 'equal', y)).read())], op).toEqual(expected)
      const chosen = await (await x.compare('less', y)).where(Tensor.full([4], 5), x)
      expect([...((await chosen.read()) as Float32Array)]).toEqual([1, 5, NaN, -0])
    })

    it('f16 and bf16 are computed in f32 and rounded once', async () => {
      for (const dtype of ['f16', 'bf16'] as const) {
        const [a, b] = [await tensorOf(random([3, 33], 5)).cast(dtype), await tensorOf(random([33], 6)).cast(dtype)]
        const [x, y] = [await read(a), await read(b)]
        const expected = await tensorOf(broadcastWith(x, y, (p, q) => Math.fround(p * q))).cast(dtype)
        expect(await (await a.mul(b)).read()).toEqual(await expected.read())
      }
    })
  })

  describe('casts', () => {
    it('go towards zero, to the nearest that fits, and NaN to 0', async () => {
      const x = Tensor.from([1.9, -1.9, 300, -300, 3e9, -3e9, NaN, Infinity, 0.5])
      expect([...(await (await x.cast('i8')).read())]).toEqual([1, -1, 127, -128, 127, -128, 0, 127, 0])
      expect([...(await (await x.cast('u8')).read())]).toEqual([1, 0, 255, 0, 255, 0, 0, 255, 0])
      expect([...(await (await x.cast('i32')).read())]).toEqual([1, -1, 300, -300, 2147483647, -2147483648, 0, 2147483647, 0])
      expect([...(await (await x.cast('bool')).read())]).toEqual([1, 1, 1, 1, 1, 1, 1, 1, 1])
      const large = Tensor.from([16777217, -7, 200], { dtype: 'i32' })
      expect([...(await (await large.cast('i8')).read())]).toEqual([127, -7, 127])
      expect([...(await (await (await large.cast('f32')).cast('i32')).read())]).toEqual([16777216, -7, 200])
    })

    it('keep every f16 and bf16 through f32', async () => {
      const bits = Uint16Array.from({ length: 65536 }, (_, i) => i)
      for (const dtype of ['f16', 'bf16'] as const) {
        const back = await (await (await Tensor.copyOf(bits, [65536], dtype).cast('f32')).cast(dtype)).read()
        const isNaNPattern = (i: number): boolean => (dtype === 'f16' ? (i & 0x7fff) > 0x7c00 : (i & 0x7fff) > 0x7f80)
        for (let i = 0; i < 65536; i++)
          if (!isNaNPattern(i) && back[i] !== i) expect.fail(`${dtype} ${i} came back as ${back[i]}`)
      }
    })
  })

  describe('reductions', () => {
    it('sums are exact where f32 is, over any axes and lengths', async () => {
      for (const n of [...lengths, 5000]) {
        const x = plain([3, n, 2], (i) => (i % 17) - 8)
        for (const [axes, keep] of [
          [[1], [0, 2]],
          [[0, 2], [1]],
          [[2], [0, 1]],
          [[0, 1, 2], []],
          [[1, 2], [0]],
        ] as const) {
          const expected = fill(
            keep.map((d) => x.shape[d]!),
            () => 0,
          )
          const strides = keep.map((_, i) => keep.slice(i + 1).reduce((p, d) => p * x.shape[d]!, 1))
          fill(x.shape, (i) => {
            expected.data[keep.reduce((place, d, k) => place + i[d]! * strides[k]!, 0)]! += at(x, i)
            return 0
          })
          expectNear(await read(await tensorOf(x).sum(axes)), expected, {}, `sum of [3, ${n}, 2] over ${axes}`)
        }
      }
    })

    it('a mean of many values is within 16 roundings', async () => {
      const x = random([300001], 9)
      const mean = x.data.reduce((s, v) => s + v, 0) / x.data.length
      expect(Math.abs((await tensorOf(x).mean()).item() - mean)).toBeLessThan(16 * 2 ** -24)
    })

    it('the same values give the same bits in any layout', async () => {
      const x = tensorOf(random([37, 2100], 4))
      const turned = await x.transpose().contiguous()
      expect(await (await turned.transpose().sum(1)).read()).toEqual(await (await x.sum(1)).read())
      expect(await (await turned.sum(0)).read()).toEqual(await (await x.sum(1)).read())
    })

    it('extremes are the first of equals, or the first NaN', async () => {
      for (const n of [1, 7, 16, 17, 1024, 1025, 3000]) {
        const x = plain([n], (i) => (i * 7919) % 13)
        const largest = Math.max(...x.data)
        expect((await tensorOf(x).argmax()).item()).toBe(x.data.indexOf(largest))
        expect((await tensorOf(x).max()).item()).toBe(largest)
        expect((await tensorOf(x).argmin()).item()).toBe(x.data.indexOf(Math.min(...x.data)))
        x.data[n - 1] = NaN
        expect((await tensorOf(x).max()).item()).toBeNaN()
        expect((await tensorOf(x).argmin()).item()).toBe(n - 1)
        const lowest = plain([n], () => -Infinity)
        expect((await tensorOf(lowest).argmax()).item()).toBe(0)
      }
      expect((await Tensor.from([3, 2147483647, -1], { dtype: 'i32' }).max()).item()).toBe(2147483647)
      expect((await Tensor.full([100000], 100, { dtype: 'u8' }).sum()).item()).toBe(10000000)
    })

    it('topK sorts, equal ones by place, NaN last', async () => {
      const { values, indices } = await Tensor.from([
        [3, 1, 3, 2],
        [NaN, 1, -Infinity, 0],
      ]).topK(3)
      expect([...(await values.read())]).toEqual([3, 3, 2, 1, 0, -Infinity])
      expect([...(await indices.read())]).toEqual([0, 2, 3, 1, 3, 2])
    })
  })
})
