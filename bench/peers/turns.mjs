/** Two sides in turn: processes of their own that answer what this one asks. */
import { execFileSync, fork } from 'node:child_process'
import { once } from 'node:events'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))

/** A process of bench/peers/side-<name>.mjs. */
export function launch(name, env = {}) {
  return { name, process: fork(join(here, `side-${name}.mjs`), { stdio: ['ignore', 2, 2, 'ipc'], env: { ...process.env, ...env } }) }
}

export async function ask(side, what, message = {}) {
  side.process.send({ ...message, ask: what })
  const answered = new AbortController()
  const { signal } = answered
  const answer = await Promise.race([
    once(side.process, 'message', { signal }).then(([value]) => value),
    once(side.process, 'exit', { signal }).then(([code]) => ({ error: `exited with ${code}` })),
  ])
  answered.abort() // takes the other listener away
  if (answer.error) throw new Error(`${side.name}: ${answer.error}`)
  return answer
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

export function spread(values) {
  return [round(Math.min(...values)), round(Math.max(...values))]
}

export function round(value) {
  return Number(value.toPrecision(4))
}

/** The commit of this checkout, if it is one. */
export function commit() {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: here, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return undefined
  }
}
