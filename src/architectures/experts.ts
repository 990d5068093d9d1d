/** What configs say of mixtures of experts. */
import type { ConfigFields } from './config-fields.js'

export interface ExpertConfig {
  readonly nExperts: number
  /** Of each token. */
  readonly nActiveExperts: number
}

/** `defaults`: what the family's config class falls back to; GGUF always has both fields. */
export function readExperts(fields: ConfigFields, defaults: ExpertConfig): ExpertConfig {
  const hf = fields.from === 'hf'
  // Qwen's name; transformers 5 writes Mixtral's for all families.
  const nExpertsField = hf && fields.raw('num_experts') !== undefined ? 'num_experts' : 'nExperts'
  const nExperts = fields.count(nExpertsField, hf ? { fallback: defaults.nExperts } : {})
  const nActiveExperts = fields.count('nActiveExperts', hf ? { fallback: defaults.nActiveExperts } : {})
  fields.expect('nActiveExperts', nActiveExperts <= nExperts, `${nActiveExperts} cannot be chosen of ${nExperts} experts`)
  return { nExperts, nActiveExperts }
}
