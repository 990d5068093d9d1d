/** A mixture of experts with random weights: generation reads the two chosen experts of eight, prompts nearly all of them. */
import { shapeMixture, syntheticModel } from '../synthetic.mjs'

export const about = '2 of 8 experts, 420M parameters, q4_k'
export const checkpoint = () => syntheticModel('q4_k', shapeMixture)
