// What servers on one PostgreSQL database hear of each other, on a real server.

import type { Kysely } from 'kysely'
import { sql } from 'kysely'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { openDatabase } from './database.ts'
import { openPostgresSignals } from './postgres-signals.ts'
import type { Database } from './schema.ts'
import type { Signals } from './signals.ts'
import { newDatabase, type TestDatabase } from './testing/databases.ts'

let database: TestDatabase
let db: Kysely<Database>
let here: Signals
let there: Signals
let heard: string[]
/** Settles with the next signal of this topic that has this text. */
let hears: (text: string) => Promise<void>

beforeEach(async () => {
  database = await newDatabase()
  db = await openDatabase({ database: database.url, stateDir: '' })
  here = await openPostgresSignals(database.url, () => {})
  there = await openPostgresSignals(database.url, () => {})
  heard = []
  let waiting: (text: string) => void = () => {}
  there.on('ended', (id, isOwn) => {
    heard.push(isOwn ? `own ${id}` : id)
    waiting(id)
  })
  hears = (text) =>
    new Promise((resolve) => {
      waiting = (id) => id === text && resolve()
    })
})
afterEach(async () => {
  await here.close()
  await there.close()
  await db.destroy()
  await database.remove()
})

it('are heard by everybody once their transaction is committed, in the order of commits', async () => {
  const last = hears('last')
  await db.transaction().execute(async (first) => {
    await here.send(first, 'ended', 'sent first')
    await db.transaction().execute((second) => there.send(second, 'ended', 'sent second'))
  })
  await here.send(db, 'session', 'of another topic')
  await here.send(db, 'ended', 'last')
  await last
  expect(heard).toEqual(['own sent second', 'sent first', 'last'])
})

it('are heard by nobody when their transaction is taken back', async () => {
  const last = hears('last')
  const taken = db.transaction().execute(async (trx) => {
    await here.send(trx, 'ended', 'never')
    throw new Error('taken back')
  })
  await expect(taken).rejects.toThrow('taken back')
  await here.send(db, 'ended', 'last')
  await last
  expect(heard).toEqual(['last'])
})

it('come again by a new connection, after everybody was told that some may be lost', async () => {
  const gap = new Promise<void>((resolve) => there.onGap(resolve))
  await sql`select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and query in ('listen twinkle', 'select 1')`.execute(db)
  await gap
  const last = hears('after')
  await here.send(db, 'ended', 'after')
  await last
  expect(heard).toEqual(['after'])
})

it('are told from whatever else comes by that channel', async () => {
  const last = hears('last')
  for (const noise of ['', 'no JSON', 'null', '["x"]', '["x","work",null]', '["x","ended"]']) {
    await sql`select pg_notify('twinkle', ${noise})`.execute(db)
  }
  await here.send(db, 'ended', 'last')
  await last
  expect(heard.at(-1)).toBe('last')
})

it('do not let a paused server hold a transaction open for ever', async () => {
  const { rows } = await sql<{
    limit: string
  }>`select current_setting('idle_in_transaction_session_timeout') as limit`.execute(db)
  expect(rows[0]?.limit).toBe('10s')
})
