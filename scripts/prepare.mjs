// Runs at the end of `npm install` in a clone: TypeScript, then the native addon where there is a compiler. Never runs for whoever
// installs the published package.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { buildNative, toolsHint } from './build-native.mjs'
import { buildTypeScript } from './build-ts.mjs'
import { fail, listOf, missingTools, root } from './toolchain.mjs'

const built = (path) => existsSync(join(root, path))

// `npx infernode` in the clone makes npm link the clone into its cache and prepare it, npm 10 even each time.
const startedByNpx = process.env.npm_command === 'exec'
if (startedByNpx && built('dist/cli/main.js')) process.exit(0)

if (!built('node_modules/typescript')) fail('the development dependencies are missing: run "npm install" (without --omit=dev).')

try {
  await buildTypeScript()
  const missing = missingTools()
  if (missing.length === 0) await buildNative()
  else
    console.warn(
      `infernode: TypeScript is built, the native addon is not: it needs ${listOf(missing)}. ${toolsHint}` +
        (built('build/Release') || built('prebuilds') ? ' Until then the last one built is used.' : ' Until then no model can run.'),
    )
} catch (cause) {
  fail(cause)
}
