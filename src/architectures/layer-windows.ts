/** Which layers have a sliding window, as configs list the kinds of layers, and as Qwen's count the full ones. */
import { type ConfigFields, show } from './config-fields.js'

/** Which layers slide, from the list of their kinds in field `name`; null where the config has no such list. */
export function readLayerKinds(fields: ConfigFields, name: string, nLayers: number): boolean[] | null {
  const kinds = fields.raw(name)
  if (kinds === undefined || !(Array.isArray(kinds) || fields.from === 'hf')) return null
  fields.expect(name, Array.isArray(kinds), `expected a list, found ${show(kinds)}`)
  const list = kinds as unknown[]
  fields.expect(name, list.length === nLayers, `${list.length} entries for ${nLayers} layers`)
  return list.map((kind) => {
    const sliding = kind === 'sliding_attention' || kind === true
    if (sliding || kind === 'full_attention' || kind === false) return sliding
    throw fields.unsupported(name, `${show(kind)} is not supported`)
  })
}

/**
 * The window of each layer of a Qwen 2 or 3; 0: all positions. `max_window_layers` layers come first and are full: the name
 * misleads.
 */
export function readQwenWindows(fields: ConfigFields, nLayers: number): number[] {
  if (fields.from === 'gguf') {
    // Ours says which layers it holds for; where that is not said it is not known.
    const slides = readLayerKinds(fields, 'attention.sliding_window_pattern', nLayers)
    if (!slides) fields.expectNeutral('window', 0)
    const window = fields.count('window', { fallback: 0, zero: true })
    return Array.from({ length: nLayers }, (_, i) => (slides?.[i] ? window : 0))
  }
  const used = fields.flag('use_sliding_window', false)
  const window = used ? fields.count('window', { fallback: 4096 }) : 0
  const full = fields.count('max_window_layers', { fallback: 28, zero: true })
  const kinds = readLayerKinds(fields, 'layer_types', nLayers)
  fields.expect('layer_types', used || !kinds?.includes(true), 'has sliding layers, but use_sliding_window is not true')
  return Array.from({ length: nLayers }, (_, i) => ((kinds ? kinds[i] : i >= full) ? window : 0))
}
