#!/usr/bin/env node
// `npm run check`: everything that can be said of the sources without running them. Goes on after a failure, so that one
// run shows all of them, and ends with a line for each step.

import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { setup } from './setup.mjs'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** redocly asks the network for updates and reports usage unless it is told not to. */
const QUIET = { REDOCLY_TELEMETRY: 'off', REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true' }

const STEPS = [
  ['format and lint', 'biome', ['ci', '--error-on-warnings', '.']],
  ['types', 'tsc', ['--noEmit', '-p', '.']],
  ['types of the example backend', 'tsc', ['--noEmit', '-p', 'cookbook/backends/bigram']],
  ['unused code and packages', 'knip', []],
  ['API description', 'redocly', ['lint']],
  ['generated files', process.execPath, ['scripts/generate.mjs', '--check']],
  ['package', process.execPath, ['scripts/package-check.mjs']],
]

setup()
const results = STEPS.map(([name, command, args]) => {
  console.log(`\n== ${name}`)
  const start = Date.now()
  const file = command === process.execPath ? command : join(ROOT, 'node_modules', '.bin', command)
  const { status } = spawnSync(file, args, { cwd: ROOT, stdio: 'inherit', env: { ...process.env, ...QUIET } })
  return { name, isGood: status === 0, seconds: (Date.now() - start) / 1000 }
})
console.log('')
for (const { name, isGood, seconds } of results) {
  console.log(`${isGood ? 'ok    ' : 'failed'}  ${name} (${seconds.toFixed(1)} s)`)
}
process.exitCode = results.every(({ isGood }) => isGood) ? 0 : 1
