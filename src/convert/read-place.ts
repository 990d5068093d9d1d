/** Reads bytes of a file at once; blocks, so it is for the conversion's own thread. */
import { closeSync, openSync, readSync } from 'node:fs'
import { InfernodeError } from '../errors.js'
import { quoteForPeople, unreadable } from '../formats/file.js'

/** Throws FILE_UNREADABLE, or FILE_CHANGED where the file has become shorter. The buffer lies at a multiple of 8 bytes. */
export function readPlace(path: string, offset: number, bytes: number): Buffer {
  const into = Buffer.from(new ArrayBuffer(bytes))
  let file: number | undefined
  try {
    file = openSync(path, 'r')
    for (let done = 0; done < bytes;) {
      const n = readSync(file, into, done, bytes - done, offset + done)
      if (n === 0) throw new InfernodeError('FILE_CHANGED', quoteForPeople(path))
      done += n
    }
    return into
  } catch (error) {
    throw error instanceof InfernodeError ? error : unreadable(path, error)
  } finally {
    if (file !== undefined) closeSync(file)
  }
}
