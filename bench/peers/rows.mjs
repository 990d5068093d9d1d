/**
 * The rows of the comparison, each with what is promised ("at least") and what is hoped for ("moonshot"). Commas separate names in --rows,
 * so no name has one.
 */
import { shape1B } from '../synthetic.mjs'

/** Long contexts need a checkpoint that has them; the weights are those of the short one. */
export const shape = { ...shape1B, contextLength: 16384 }

const integers = ['q8_0', 'q4_0', 'q4_k', 'q5_k', 'q6_k']
const floats = ['bf16', 'f32']
const generationShare = { q8_0: 0.85, q4_0: 0.8, q4_k: 0.8, q6_k: 0.8 }

/**
 * A session is a pair of processes that hold the same file; its rows are measured in turns. Ratios are ours to theirs, the other
 * way round where less is better; shares are of this machine's limits, measured in the same turns. `least` and `most` bound the value itself.
 */
export const sessions = [
  ...integers.map((type) => ({
    type,
    rows: [
      { name: `${type} prompt 512`, prompt: 512, ratio: [type === 'q4_0' ? 2.3 : 2.8], share: [0.55, 0.7] },
      { name: `${type} generation`, generation: 64, ratio: [1.5, 2], share: [generationShare[type], 0.95] },
    ],
  })),
  ...floats.map((type) => ({
    type,
    rows: [
      { name: `${type} prompt 512`, prompt: 512, arithmetic: type, ratio: [1.3], share: [undefined, 0.7] },
      { name: `${type} generation`, generation: 32, ratio: [1.5, 2], share: [undefined, 0.95] },
    ],
  })),
  ...['q8_0', 'q4_0', 'q4_k', 'q6_k'].map((type) => ({
    type,
    rows: [8, 16, 32, 64].map((n) => ({ name: `${type} prompt ${n}`, prompt: n, ratio: [2, 4] })),
  })),
  ...integers.map((type) => ({
    type,
    isa: 'avx2',
    peerCpu: 'haswell',
    rows: [{ name: `${type} prompt 512 on AVX2`, prompt: 512, ratio: [1.5], share: [undefined, 0.6] }],
  })),
  ...['q8_0', 'q4_k'].flatMap((type) =>
    [8, 32].map((n) => ({
      type,
      sequences: n,
      contextLength: 512,
      rows: [
        { name: `${type} ${n} sequences`, together: n, prompt: 16, tokens: n === 8 ? 48 : 24, ratio: [2.5, 5], share: n === 8 ? [0.25, 0.45] : [0.45, 0.6] },
      ],
    })),
  ),
  ...['f16', 'q8_0'].map((kvType) => ({
    type: 'q4_0', // which llama.cpp multiplies fastest: what is left is attention
    kvType,
    contextLength: 8192 + 512,
    slow: true,
    rows: [
      { name: `prompt 8192 with KV ${kvType}`, prompt: 8192, ratio: [1.5, 2.5] },
      { name: `generation at 8192 with KV ${kvType}`, generation: 32, after: 8192, ratio: [1.5, 2.5] },
    ],
  })),
  { type: 'q8_0', rows: [{ name: 'load to first token', start: true, unit: 'ms', ratio: [5, 20] }] },
  { type: 'q8_0', rows: [{ name: 'generation beside a busy neighbour per core', busy: 24, unit: '% of quiet', least: [45, 50] }] },
  { type: 'q8_0', rows: [{ name: 'RSS above Node, file and KV', memory: true, unit: 'MB', most: 64 }] },
]
