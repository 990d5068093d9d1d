/** infernode's side of the comparison: one process that loads a model and runs what its parent asks for. */
import { inspect, measureMachine, Model } from '../../dist/index.js'
import { readProbe, workOfPlan } from '../../dist/cli/work.js'
import { serve } from './side.mjs'

serve(async ({ path, threads, contextLength, sequences, kvType, isa }) => {
  const options = { threads, contextLength, cacheTokens: contextLength * sequences, kvType, ...(isa && { isa }) }
  const model = await Model.load(path, options)
  // As on the other side, a random model goes on after an end-of-text token.
  const logitBias = Object.fromEntries(model.info.eosTokenIds.map((id) => [id, -Infinity]))
  return {
    about: { isa: model.info.isa, threads: model.info.threads },
    async *generate(ids, maxTokens) {
      for await (const { token } of model.generate(ids, { maxTokens, temperature: 0, logitBias })) if (token >= 0) yield token
    },
    more: {
      /** This machine's limits now, and what the model asks of it. */
      async limits() {
        const { plan, tensors, files } = await inspect(path)
        const sizes = new Map(tensors.map(({ name, bytes }) => [name, bytes]))
        const peaks = await measureMachine({ threads, isa: model.info.isa, milliseconds: 400, ...readProbe(files) })
        return { peaks, work: workOfPlan(plan, (name) => sizes.get(name) ?? 0), kvBytes: model.stats().kvBytes }
      },
    },
  }
})
