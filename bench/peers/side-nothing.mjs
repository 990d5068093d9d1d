/** A process that loads nothing: what Node itself needs. */
import { serve } from './side.mjs'

serve(async () => {
  throw new Error('there is nothing here to load')
})
