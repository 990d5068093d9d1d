// A multi-layer perceptron by hand: two layers with a GELU between, the first one quantized, on a batch of inputs.
import { Tensor } from 'infernode'

const [inputs, hidden, classes] = [64, 256, 10]
const w1 = await Tensor.randomNormal([hidden, inputs], { seed: 1, deviation: inputs ** -0.5 }).quantize('q8_0')
const b1 = Tensor.zeros([hidden])
const w2 = Tensor.randomNormal([classes, hidden], { seed: 2, deviation: hidden ** -0.5 })
const b2 = Tensor.zeros([classes])

async function mlp(x) {
  const h = await (await x.matmul(w1, { transposeB: true })).add(b1)
  const y = await (await (await h.gelu()).matmul(w2, { transposeB: true })).add(b2)
  return y.softmax()
}

const batch = Tensor.randomNormal([4, inputs], { seed: 3 })
const probabilities = await mlp(batch)
console.log(probabilities)
console.log('classes', [...(await (await probabilities.argmax(1)).read())])
