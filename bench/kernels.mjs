/**
 * Single kernels through Tensor, beside this machine's measured peaks: `node bench/kernels.mjs [--repeat 7] [--json]`. GFLOP/s count a
 * multiply-add as two; the median counts, the best is printed beside it.
 */
import { parseArgs } from 'node:util'
import { measureMachine, runtime, Tensor } from '../dist/index.js'

const { values: args } = parseArgs({
  options: { repeat: { type: 'string', default: '7' }, json: { type: 'boolean', default: false } },
})
const repeat = Number(args.repeat)

const [m, n, k] = [512, 4096, 4096]
const matmulFlops = 2 * m * n * k
const x = await Tensor.randomNormal([m, k], { seed: 1 }).ready()
const w = await Tensor.randomNormal([n, k], { seed: 2 }).ready()
const int8 = async (rows, seed) => Tensor.random([rows, k], { seed, low: -127, high: 127 }).cast('i8')
const [heads, headDim, length] = [32, 128, 2048]
const qkv = await Promise.all([3, 4, 5].map((seed) => Tensor.randomNormal([length, heads, headDim], { seed }).ready()))
const [xi, wi] = [await int8(m, 6), await int8(n, 7)]
const weights = { bf16: await w.cast('bf16'), q8_0: await w.quantize('q8_0'), q4_0: await w.quantize('q4_0') }

const cases = [
  ['matmul f32', 'f32', matmulFlops, () => x.matmul(w, { transposeB: true })],
  ['matmul bf16 weights', 'f32', matmulFlops, () => x.matmul(weights.bf16, { transposeB: true })],
  ['matmul q8_0 weights', 'int8', matmulFlops, () => x.matmul(weights.q8_0, { transposeB: true })],
  ['matmul q4_0 weights', 'int8', matmulFlops, () => x.matmul(weights.q4_0, { transposeB: true })],
  ['matmul int8, exact', 'int8', matmulFlops, () => xi.int8Matmul(wi, { scaleA: 0.01, scaleB: 0.01 })],
  // Two products of length × length × headDim per head, of which the causal half is computed.
  ['attention causal', 'f32', 2 * length * length * headDim * heads, () => qkv[0].attention(qkv[1], qkv[2])],
]

const { isa, threads, cpuModel } = await runtime()
const peaks = await measureMachine({ milliseconds: 1500 })
const peakOf = { f32: 2 * peaks.f32MacsPerSecond, int8: 2 * peaks.int8MacsPerSecond }
const results = []
for (const [name, kind, flops, run] of cases) {
  ;(await run()).dispose()
  const seconds = []
  for (let i = 0; i < repeat; i++) {
    const begin = process.hrtime.bigint()
    ;(await run()).dispose()
    seconds.push(Number(process.hrtime.bigint() - begin) / 1e9)
  }
  seconds.sort((a, b) => a - b)
  const median = flops / seconds[repeat >> 1]
  results.push({ name, gflops: median / 1e9, best: flops / seconds[0] / 1e9, shareOfPeak: median / peakOf[kind], peak: kind })
}
if (args.json) console.log(JSON.stringify({ isa, threads, cpuModel, peaks, results }))
else {
  console.log(
    `${cpuModel}, isa ${isa}, ${threads} threads; peaks: f32 ${(peakOf.f32 / 1e9).toFixed(0)}, int8 ${(peakOf.int8 / 1e9).toFixed(0)} GFLOP/s`,
  )
  for (const { name, gflops, best, shareOfPeak, peak } of results)
    console.log(
      `${name.padEnd(22)} ${gflops.toFixed(1).padStart(8)} GFLOP/s (best ${best.toFixed(1)}), ${(100 * shareOfPeak).toFixed(0)} % of the ${peak} peak`,
    )
}
