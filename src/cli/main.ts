#!/usr/bin/env node
// The `twinkle` command: runs what was asked for, and ends with one line and code 1 when it cannot be done.

import { createProgram } from './program.ts'

const program = createProgram()
try {
  await program.parseAsync()
} catch (error) {
  const { printed } = await import('./complaint.ts')
  process.stderr.write(`${printed(error, program.opts().debug === true)}\n`)
  // What a failed command leaves behind, such as an engine that was started before, must not keep the process alive.
  process.exit(1)
}
