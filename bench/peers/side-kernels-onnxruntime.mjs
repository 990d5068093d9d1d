/** onnxruntime-node's side of bench/peers/kernels.mjs: models of one operator, their weights constants that it may lay out as it likes. */
import { createRequire } from 'node:module'
import { headDim, heads, k, length, m, n, randomBytes, randomFloats, scales } from './kernel-shapes.mjs'
import { onnxModel } from './onnx-model.mjs'
import { serveKernels } from './side-kernels.mjs'

const ort = createRequire(import.meta.url)('onnxruntime-node') // its types name no ES module
const width = heads * headDim
const f32 = (name, shape, data) => ({ name, type: 'float32', shape, data })
/** Unsigned times signed bytes is what it multiplies fastest: bytes from -127 to 127, shifted by 128. */
const zeros = [
  { name: 'a_zero', type: 'uint8', shape: [], data: Uint8Array.of(128) },
  { name: 'b_zero', type: 'int8', shape: [], data: Int8Array.of(0) },
]
const shifted = (bytes) => Uint8Array.from(bytes, (value) => value + 128)
const whole = (type, name, shape, data) => ({ name, type, shape, data })

serveKernels(
  {
    MatMul: (threads) =>
      prepared(threads, {
        op: 'MatMul',
        inputs: [f32('x', [m, k]), f32('w', [k, n], transposed(randomFloats(n * k, 2)))],
        outputs: [f32('y', [m, n])],
        feeds: { x: randomFloats(m * k, 1) },
      }),
    'MatMulNBits, 8 bits': (threads) => matMulNBits(threads, 8),
    'MatMulNBits, 4 bits': (threads) => matMulNBits(threads, 4),
    MatMulInteger: (threads) =>
      prepared(threads, {
        op: 'MatMulInteger',
        inputs: [whole('uint8', 'a', [m, k]), whole('int8', 'b', [k, n], transposed(randomBytes(n * k, 4))), ...zeros],
        outputs: [whole('int32', 'y', [m, n])],
        feeds: { a: shifted(randomBytes(m * k, 3)) },
      }),
    QLinearMatMul(threads) {
      const scale = (name, value) => f32(name, [], Float32Array.of(value))
      return prepared(threads, {
        op: 'QLinearMatMul',
        inputs: [
          ...[whole('uint8', 'a', [m, k]), scale('a_scale', scales.a), zeros[0]],
          ...[whole('int8', 'b', [k, n], transposed(randomBytes(n * k, 4))), scale('b_scale', scales.b), zeros[1]],
          ...[scale('y_scale', scales.out), whole('uint8', 'y_zero', [], Uint8Array.of(128))],
        ],
        outputs: [whole('uint8', 'y', [m, n])],
        feeds: { a: shifted(randomBytes(m * k, 3)) },
      })
    },
    MultiHeadAttention: (threads) =>
      prepared(threads, {
        ...{ op: 'MultiHeadAttention', domain: 'com.microsoft', attributes: { num_heads: heads, unidirectional: 1 } },
        inputs: ['q', 'k', 'v'].map((name) => f32(name, [1, length, width])),
        outputs: [f32('y', [1, length, width])],
        feeds: attentionFeeds(),
      }),
    GroupQueryAttention: (threads) =>
      prepared(threads, {
        ...{ op: 'GroupQueryAttention', domain: 'com.microsoft', attributes: { num_heads: heads, kv_num_heads: heads } },
        inputs: [
          ...['q', 'k', 'v'].map((name) => f32(name, [1, length, width])),
          ...[undefined, undefined], // nothing came before
          whole('int32', 'last', [1], Int32Array.of(length - 1)),
          whole('int32', 'total', [1], Int32Array.of(length)),
        ],
        outputs: [f32('y', [1, length, width]), f32('keys', [1, heads, length, headDim]), f32('values', [1, heads, length, headDim])],
        feeds: attentionFeeds(),
      }),
  },
  { read: ({ data }) => data, dispose() {} },
  async () => ({ version: ort.env.versions.node }),
)

/** Outputs lie where they lay in the run before, as in ours: neither side pays for new pages. */
async function prepared(threads, { feeds, ...model }) {
  const session = await ort.InferenceSession.create(onnxModel(model), {
    ...{ intraOpNumThreads: threads, interOpNumThreads: 1, executionProviders: ['cpu'], graphOptimizationLevel: 'all', logSeverityLevel: 3 },
  })
  const tensorOf = ({ name, type, shape }) => [name, new ort.Tensor(type, feeds[name], shape)]
  const inputs = Object.fromEntries(model.inputs.filter((input) => input && !input.data).map(tensorOf))
  let outputs = await session.run(inputs)
  return async () => (outputs = await session.run(inputs, outputs)).y
}

/** Weights of `bits` in blocks of 32 with a scale each; accuracy level 4 multiplies activations as int8, as ours does. */
function matMulNBits(threads, bits) {
  const weights = randomFloats(n * k, 2)
  const blocks = (n * k) / 32
  const [packed, blockScales] = [new Uint8Array((n * k * bits) / 8), new Float32Array(blocks)]
  const zero = 2 ** (bits - 1) // where nothing else is said
  for (let block = 0; block < blocks; block++) {
    const values = weights.subarray(32 * block, 32 * block + 32)
    let largest = 0
    for (const value of values) largest = Math.max(largest, Math.abs(value))
    blockScales[block] = largest / (zero - 1)
    values.forEach((value, i) => {
      const number = Math.round(value / blockScales[block]) + zero
      if (bits === 8) packed[32 * block + i] = number
      else packed[16 * block + (i >> 1)] |= number << (4 * (i % 2))
    })
  }
  return prepared(threads, {
    ...{ op: 'MatMulNBits', domain: 'com.microsoft', attributes: { K: k, N: n, bits, block_size: 32, accuracy_level: 4 } },
    inputs: [f32('x', [m, k]), whole('uint8', 'w', [n, k / 32, 4 * bits], packed), f32('scales', [n, k / 32], blockScales)],
    outputs: [f32('y', [m, n])],
    feeds: { x: randomFloats(m * k, 1) },
  })
}

function attentionFeeds() {
  const [q, keys, values] = [5, 6, 7].map((seed) => randomFloats(length * width, seed))
  return { q, k: keys, v: values }
}

/** [n, k] → [k, n] */
function transposed(values) {
  const result = new values.constructor(values.length)
  for (let row = 0; row < n; row++) for (let column = 0; column < k; column++) result[column * n + row] = values[row * k + column]
  return result
}
