import { describe, expect, it } from 'vitest'
import { embeddedModel } from '../src/model.js'
import { measureMachine } from '../src/runtime.js'

describe('measureMachine', () => {
  it('reads fresh memory, or the mapped bytes of a file', async () => {
    for (const options of [{}, { file: embeddedModel }])
      for (const rate of Object.values(await measureMachine({ ...options, milliseconds: 20 }))) expect(rate).toBeGreaterThan(0)
  })

  it('refuses a file that is not there', async () => {
    await expect(measureMachine({ file: 'nowhere.gguf' })).rejects.toMatchObject({ code: 'FILE_UNREADABLE' })
  })
})
