// Runs test/**/*.test.ts against src/ and the built addon.
import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // A process per file: an addon that crashes takes one file along, and each sees a runtime of its own.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    reporters: [process.stdout.isTTY ? 'default' : 'dot', './test/support/summary.ts'],
  },
})
