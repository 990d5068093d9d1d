/** The README's tables come from what was measured. */
import { spawnSync } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { folderForTest } from '../support/models.js'

const script = join(import.meta.dirname, '../../bench/readme.mjs')
const about = { threads: 2, repeat: 5, cpu: 'AMD EPYC', commit: 'abc1234', date: '2026-11-23T12:00:00.000Z', peerVersion: '3.22.1', version: '0.1.0' }
const rows = [
  { name: 'q8_0 prompt 512', unit: 'tokens/s', ours: 612.3, peer: 143.21, ratio: 4.276, shareOfLimit: 0.613, limit: 'int8', targets: {}, ...about },
  { name: 'load to first token', unit: 'ms', ours: 52.14, peer: 688, ratio: 13.2, targets: {}, ...about },
]

it('writes the measured table with machine, commit and date, and touches nothing else', async () => {
  const folder = await folderForTest()
  const [peers, readme] = [join(folder, 'peers.json'), join(folder, 'README.md')]
  await writeFile(peers, JSON.stringify({ rows }))
  const marks = ['<!-- written by `npm run bench:readme` -->', '<!-- end of what is written -->']
  await writeFile(readme, `before\n${marks[0]}\nold\n${marks[1]}\nafter\n`)
  const write = () => spawnSync(process.execPath, [script, '--peers', peers, '--kernels', join(folder, 'none.json'), '--readme', readme], { encoding: 'utf8' })
  expect(write().status).toBe(0)
  const written = await readFile(readme, 'utf8')
  expect(written.startsWith(`before\n${marks[0]}\n`)).toBe(true)
  expect(written.endsWith(`${marks[1]}\nafter\n`)).toBe(true)
  expect(written).not.toContain('old')
  expect(written).toContain('| q8_0 prompt 512 | 612 | 143 | 4.28 × | 61 % of int8 |\n| load to first token, ms | 52.1 | 688 | 13.2 × |  |\n')
  expect(written).toContain('node-llama-cpp 3.22.1')
  expect(written).toContain('2 threads, medians of 5 turns, AMD EPYC, commit abc1234, 2026-11-23')
  expect(write().status).toBe(0)
  expect(await readFile(readme, 'utf8')).toBe(written)
})

it('refuses a README without a place for it', async () => {
  const folder = await folderForTest()
  const [peers, readme] = [join(folder, 'peers.json'), join(folder, 'README.md')]
  await writeFile(peers, JSON.stringify({ rows }))
  await writeFile(readme, 'nothing\n')
  const { status, stderr } = spawnSync(process.execPath, [script, '--peers', peers, '--readme', readme], { encoding: 'utf8' })
  expect(status).not.toBe(0)
  expect(stderr).toContain('has no place')
  expect(await readFile(readme, 'utf8')).toBe('nothing\n')
})
