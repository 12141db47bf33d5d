import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { openDatabase } from '../server/store/database.ts'
import { Journal } from '../server/store/journal.ts'
import { DEFAULT_POLICY } from '../server/store/policy.ts'
import { stateFacts } from '../server/store/state-facts.ts'
import { newDatabase } from '../server/store/testing/databases.ts'
import { stateText } from './state.ts'

it('a state directory says what it holds and keeps, while a server works on it', async () => {
  const stateDir = mkdtempSync(join(tmpdir(), 'twinkle-state-'))
  const database = await newDatabase()
  const place = { database: database.url, stateDir }
  if (database.url === 'sqlite') await expect(stateFacts(place)).rejects.toMatchObject({ code: 'STORAGE' })
  const db = await openDatabase(place)
  const journal = new Journal(db, stateDir)
  const call = { tenant: 'a', session: null, subject: null, kind: 'sample' as const, identity: null }
  await journal.append({ ...call, payload: new Uint8Array(2 ** 21) })
  const { id } = await journal.append({ ...call, payload: new Uint8Array(1) })
  await journal.finish({ id, result: { type: 'json', bytes: new Uint8Array(1) } })
  const text = stateText({ ...place, stateDir: 'here' }, await stateFacts(place), DEFAULT_POLICY)
  await db.destroy()
  await database.remove()
  rmSync(stateDir, { recursive: true })
  expect(text).toMatch(/database +[\d.]+ MiB \((sqlite|postgres:\/\/postgres@localhost\/\w+)\)/)
  expect(text).toMatch(/operations +1 done, 1 queued/)
  expect(text).toMatch(/large calls and answers +2\.0 MiB/)
  expect(text).toMatch(/answers +24 h after they were fetched, 7 days otherwise/)
})
