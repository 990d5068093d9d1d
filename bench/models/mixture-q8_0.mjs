/** A mixture of experts with random weights: generation reads the two chosen experts of eight, prompts nearly all of them. */
import { shapeMixture, syntheticModel } from '../synthetic.mjs'

export const about = '2 of 8 experts, 420M parameters, q8_0'
export const checkpoint = () => syntheticModel('q8_0', shapeMixture)
