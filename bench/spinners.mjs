/** Programs that take all of a core, one for each: what threads that wait for each other suffer most from. */
import { spawn } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'

// Children of one program each, so that nothing of theirs is in this process; ended with it at the latest.
const spinners = []
process.on('exit', () => spinners.forEach((child) => child.kill('SIGKILL')))

/** What `work` gives while there is a spinner of ordinary priority for every core. */
export async function besideSpinners(work) {
  for (let i = 0; i < availableParallelism(); i++) spinners.push(spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore' }))
  await sleep(500) // to their full speed
  try {
    return await work()
  } finally {
    await Promise.all(
      spinners.splice(0).map((child) => {
        child.kill('SIGKILL')
        return new Promise((resolve) => child.on('exit', resolve))
      }),
    )
  }
}
