import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { Journal } from '../server/store/journal.ts'
import { DEFAULT_POLICY } from '../server/store/policy.ts'
import { openSqlite } from '../server/store/sqlite.ts'
import { stateFacts } from '../server/store/state-facts.ts'
import { stateText } from './state.ts'

it('a state directory says what it holds and keeps, while a server works on it', async () => {
  const stateDir = mkdtempSync(join(tmpdir(), 'twinkle-state-'))
  await expect(stateFacts({ database: 'sqlite', stateDir })).rejects.toMatchObject({ code: 'STORAGE' })
  const db = await openSqlite(join(stateDir, 'twinkle.db'))
  const journal = new Journal(db, stateDir)
  const call = { tenant: 'a', session: null, subject: null, kind: 'sample' as const, identity: null }
  await journal.append({ ...call, payload: new Uint8Array(2 ** 21) })
  const { id } = await journal.append({ ...call, payload: new Uint8Array(1) })
  await journal.finish({ id, result: { type: 'json', bytes: new Uint8Array(1) } })
  const text = stateText(
    { database: 'sqlite', stateDir: 'here' },
    await stateFacts({ database: 'sqlite', stateDir }),
    DEFAULT_POLICY,
  )
  await db.destroy()
  rmSync(stateDir, { recursive: true })
  expect(text).toMatch(/operations +1 done, 1 queued/)
  expect(text).toMatch(/large calls and answers +2\.0 MiB/)
  expect(text).toMatch(/answers +24 h after they were fetched, 7 days otherwise/)
})
