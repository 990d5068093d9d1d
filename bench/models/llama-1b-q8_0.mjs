/** A llama of TinyLlama's shape with random weights: bandwidth rules generation, arithmetic rules prompts. */
import { syntheticModel } from '../synthetic.mjs'

export const about = '1.1B parameters, q8_0'
export const checkpoint = () => syntheticModel('q8_0')
