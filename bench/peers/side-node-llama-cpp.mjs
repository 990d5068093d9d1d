/** node-llama-cpp's side of the comparison: one process that loads a model and runs what its parent asks for. */
import { getLlama, LlamaLogLevel } from 'node-llama-cpp'
import { serve } from './side.mjs'

serve(async ({ path, threads, contextLength }) => {
  const llama = await getLlama({ gpu: false, build: 'never', maxThreads: threads, logLevel: LlamaLogLevel.error })
  const model = await llama.loadModel({ modelPath: path, gpuLayers: 0 })
  const context = await model.createContext({
    contextSize: contextLength,
    batchSize: 512,
    threads: { ideal: threads, min: threads },
  })
  const sequence = context.getSequence()
  return {
    about: { llamaCpp: llama.llamaCppRelease.release },
    async *generate(ids) {
      await sequence.clearHistory()
      yield* sequence.evaluate(ids, { temperature: 0, yieldEogToken: true })
    },
  }
})
