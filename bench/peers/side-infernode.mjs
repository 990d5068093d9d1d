/** infernode's side of the comparison: one process that loads a model and runs what its parent asks for. */
import { Model } from '../../dist/index.js'
import { serve } from './side.mjs'

serve(async ({ path, threads, contextLength }) => {
  const model = await Model.load(path, { threads, contextLength, cacheTokens: contextLength })
  // As on the other side, a random model goes on after an end-of-text token.
  const logitBias = Object.fromEntries(model.info.eosTokenIds.map((id) => [id, -Infinity]))
  return {
    about: { isa: model.info.isa, threads: model.info.threads },
    async *generate(ids, maxTokens) {
      for await (const { token } of model.generate(ids, { maxTokens, temperature: 0, logitBias })) if (token >= 0) yield token
    },
  }
})
