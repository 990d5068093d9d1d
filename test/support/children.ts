/** Processes of their own for what may end, block or crash a process; they run the built package. */
import { spawn } from 'node:child_process'
import { join } from 'node:path'

const folder = join(import.meta.dirname, '../engine/children')

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs test/engine/children/<name>.mjs. One that hangs is killed, and its `signal` is then SIGKILL. */
export function runChild(
  name: string,
  args: readonly (string | number)[] = [],
  options: {
    nodeArgs?: string[]
    env?: Record<string, string>
    timeoutMs?: number
    onOutput?: (text: string, kill: (signal: NodeJS.Signals) => void) => void
  } = {},
): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [...(options.nodeArgs ?? []), join(folder, `${name}.mjs`), ...args.map(String)], {
      env: { ...process.env, ...options.env },
    })
    const timer = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs ?? 20_000)
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text
      options.onOutput?.(text, (signal) => child.kill(signal))
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
    child.on('error', reject)
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      resolve({ code, signal, stdout, stderr })
    })
  })
}

/** The JSON that a child wrote, after it ended well. */
export async function reportOf<T>(
  name: string,
  args: readonly (string | number)[] = [],
  options: Parameters<typeof runChild>[2] = {},
): Promise<T> {
  const { code, signal, stdout, stderr } = await runChild(name, args, options)
  if (code !== 0) throw new Error(`${name} ended with ${signal ?? code}: ${stderr.slice(-2000)}`)
  return JSON.parse(stdout) as T
}
