/** infernode's side of bench/peers/kernels.mjs: Tensor's operations. */
import { measureMachine, runtime, Tensor } from '../../dist/index.js'
import { headDim, heads, k, length, m, n, randomBytes, randomFloats } from './kernel-shapes.mjs'
import { serveKernels } from './side-kernels.mjs'

const floats = (rows, seed) => Tensor.adopt(randomFloats(rows * k, seed), [rows, k])
const bytes = (rows, seed) => Tensor.adopt(randomBytes(rows * k, seed), [rows, k])
const matmul = async (dtype) => {
  const [x, plain] = [floats(m, 1), floats(n, 2)]
  const w = dtype === 'f32' ? plain : await plain.quantize(dtype)
  return () => x.matmul(w, { transposeB: true })
}

serveKernels(
  {
    'matmul f32': () => matmul('f32'),
    'matmul q8_0': () => matmul('q8_0'),
    'matmul q4_0': () => matmul('q4_0'),
    int8Matmul() {
      const [a, b] = [bytes(m, 3), bytes(n, 4)]
      return () => a.int8Matmul(b)
    },
    attention() {
      const [q, keys, values] = [5, 6, 7].map((seed) => Tensor.adopt(randomFloats(length * heads * headDim, seed), [length, heads, headDim]))
      return () => q.attention(keys, values)
    },
  },
  { read: (tensor) => tensor.read(), dispose: (tensor) => tensor.dispose() },
  async () => {
    const { isa, threads, cpuModel, packageVersion } = await runtime()
    return { isa, threads, cpuModel, packageVersion, peaks: await measureMachine({ milliseconds: 400 }) }
  },
)
