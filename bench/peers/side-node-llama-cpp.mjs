/** node-llama-cpp's side of the comparison: one process that loads a model and runs what its parent asks for. */
import { pathToFileURL } from 'node:url'
import { peerModule } from './install.mjs'
import { serve } from './side.mjs'

// With INFERNODE_PEER_CPU=haswell and the like only llama.cpp's build for that CPU is there to be chosen.
const { getLlama, LlamaLogLevel } = await import(pathToFileURL(peerModule(process.env.INFERNODE_PEER_CPU)).href)

serve(async ({ path, threads, contextLength, sequences, kvType }) => {
  const llama = await getLlama({ gpu: false, build: 'never', maxThreads: threads, logLevel: LlamaLogLevel.error })
  const model = await llama.loadModel({ modelPath: path, gpuLayers: 0 })
  // Its default type is f16; a quantized cache needs flash attention, which is chosen by itself otherwise.
  const cache = kvType === 'q8_0' ? { experimentalKvCacheKeyType: 'Q8_0', experimentalKvCacheValueType: 'Q8_0', flashAttention: true } : {}
  const context = await model.createContext({
    contextSize: contextLength,
    sequences,
    batchSize: 512,
    threads: { ideal: threads, min: threads },
    ...cache,
  })
  const all = Array.from({ length: sequences }, () => context.getSequence())
  const features = [...llama.systemInfo.matchAll(/(\w+) = 1/g)].map(([, name]) => name).join(' ')
  return {
    about: { llamaCpp: llama.llamaCppRelease.release, features, flashAttention: context.flashAttention },
    async *generate(ids, _, i) {
      await all[i].clearHistory()
      yield* all[i].evaluate(ids, { temperature: 0, yieldEogToken: true })
    },
    more: {},
  }
})
