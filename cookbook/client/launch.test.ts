// The Python starters say what is missing, and the next step. That they start servers and pass signals on, the tests of the
// folders show.

import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { plainPython } from '../testing/python.ts'
import { Terminal } from '../testing/terminal.ts'

const terminal = new Terminal()
const folder = mkdtempSync(join(tmpdir(), 'twinkle-launch-'))
afterAll(async () => {
  await terminal.close()
  rmSync(folder, { recursive: true })
})

const python = await plainPython()
const start = (PATH: string) =>
  terminal.run({ command: python!, args: ['cookbook/client/tinker/transformer/server.py'], env: { PATH } })

it.skipIf(python === null)('without Node', async () => {
  await expect(start(folder)).rejects.toThrow(/Node is not here, .*Next: install Node 20\.19 or newer/)
})

it.skipIf(python === null || process.platform === 'win32')('with an old Node', async () => {
  writeFileSync(join(folder, 'node'), '#!/bin/sh\necho v18.20.4\n')
  chmodSync(join(folder, 'node'), 0o755)
  await expect(start(folder)).rejects.toThrow(/Node v18\.20\.4 is too old .*Next: install Node 20\.19 or newer/)
})
