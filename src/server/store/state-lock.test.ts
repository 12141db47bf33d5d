import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { lockStateDir } from './state-lock.ts'

let stateDir: string
beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), 'twinkle-lock-'))
})
afterEach(() => rmSync(stateDir, { recursive: true }))

it('does not take a disk that fails for another server', async () => {
  mkdirSync(join(stateDir, 'lock.db-journal'))
  await expect(lockStateDir(stateDir)).rejects.toMatchObject({ code: 'STORAGE' })
})

it('lets one server have a state directory, and the next one when that is done', async () => {
  const first = await lockStateDir(stateDir)
  await expect(lockStateDir(stateDir)).rejects.toMatchObject({ code: 'STATE_IN_USE' })
  first.release()
  const second = await lockStateDir(stateDir)
  second.release()
})
