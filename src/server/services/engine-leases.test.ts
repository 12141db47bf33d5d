// Leases of engines on PostgreSQL: one owner at a time, and nothing is written by one who was replaced.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Kysely, sql } from 'kysely'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openDatabase } from '../store/database.ts'
import { Journal } from '../store/journal.ts'
import { openPostgresSignals } from '../store/postgres-signals.ts'
import type { Database } from '../store/schema.ts'
import type { Signals } from '../store/signals.ts'
import { newDatabase, type TestDatabase } from '../store/testing/databases.ts'
import { EngineLeases, type Lease } from './engine-leases.ts'
import { TenureOver } from './tenure.ts'

const MODEL = 'org/tiny'
const LONG = 60_000

let stateDir: string
let database: TestDatabase
let db: Kysely<Database>
let signals: Signals
let journal: Journal

beforeEach(async () => {
  stateDir = mkdtempSync(join(tmpdir(), 'twinkle-leases-'))
  database = await newDatabase()
  db = await openDatabase({ database: database.url, stateDir })
  signals = await openPostgresSignals(database.url, () => {})
  journal = new Journal(db, stateDir, signals)
})
afterEach(async () => {
  await signals.close()
  await db.destroy()
  await database.remove()
  rmSync(stateDir, { recursive: true })
})

const newServer = (leaseMs = LONG) => new EngineLeases(db, signals, leaseMs)
const taken = async (server: EngineLeases) => (await server.take(MODEL)) as Lease
const runOut = () => db.updateTable('engine_leases').set({ expires_at: 0 }).execute()
const acknowledged = async () => {
  const payload = new TextEncoder().encode('{}')
  const operation = { tenant: 'anna', session: 's', subject: 'r', kind: 'optim_step', identity: null, payload } as const
  return (await journal.append(operation)).id
}
/** For a lock in this database. */
async function isSomebodyWaiting(): Promise<boolean> {
  const { rows } = await sql`select 1 from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock'`.execute(db)
  return rows.length > 0
}
const result = (text: string) => ({ type: 'json' as const, bytes: new TextEncoder().encode(text) })

describe('a lease', () => {
  it('has one owner, however many ask at once', async () => {
    const leases = await Promise.all(Array.from({ length: 8 }, () => newServer().take(MODEL)))
    expect(leases.filter((lease) => lease !== null)).toHaveLength(1)
  })

  it('is free when it is released, and when it has run out, with a higher number each time', async () => {
    const [here, there] = [newServer(), newServer()]
    const first = await taken(here)
    expect(await there.take(MODEL)).toBeNull()
    await here.release(first)
    const second = await taken(there)
    expect(await here.take(MODEL)).toBeNull()
    await runOut()
    const third = await taken(here)
    expect([first.fence, second.fence, third.fence]).toEqual([1, 2, 3])
  })

  it('goes on when it is renewed, also late, but not once another one has it', async () => {
    const [here, there] = [newServer(), newServer()]
    const lease = await taken(here)
    await runOut()
    expect(await here.renew(lease)).toBe(true)
    expect(await there.take(MODEL)).toBeNull()
    await runOut()
    await taken(there)
    expect(await here.renew(lease)).toBe(false)
    await expect(here.release(lease)).rejects.toThrow(TenureOver)
    expect((await there.look(MODEL)).owner).toBe(there.owner)
  })

  it('says how long it lasts by the clock of the database, and what the engine can do', async () => {
    const server = newServer()
    expect(await server.look(MODEL)).toEqual({ owner: null, remainingMs: 0, info: null })
    const lease = await taken(server)
    const info = { model: MODEL, maxRank: 64 } as never
    await server.publish(lease, info)
    const { remainingMs, ...state } = await server.look(MODEL)
    expect(state).toEqual({ owner: server.owner, info })
    expect(remainingMs).toBeGreaterThan(0)
    expect(remainingMs).toBeLessThanOrEqual(LONG)
  })
})

describe('an owner that was replaced', () => {
  it('starts nothing and ends nothing, and what the new one writes stays', async () => {
    const id = await acknowledged()
    const old = await taken(newServer())
    expect(await journal.start([id], old)).toEqual([id])
    await runOut()
    const now = await taken(newServer())
    await expect(journal.start([id], old)).rejects.toThrow(TenureOver)
    await expect(journal.finish({ id, result: result('old') }, undefined, old)).rejects.toThrow(TenureOver)
    await journal.start([id], now)
    await journal.finish({ id, result: result('new') }, undefined, now)
    const row = await journal.find('anna', id)
    expect(new TextDecoder().decode(await journal.resultOf(row as NonNullable<typeof row>))).toBe('new')
    expect(await journal.start([id], now)).toEqual([])
  })

  it('ends what it is writing at the moment before it is replaced', async () => {
    const id = await acknowledged()
    const old = await taken(newServer())
    await runOut()
    const order: string[] = []
    let replaced: Promise<unknown> = Promise.resolve()
    await journal.finish(
      { id, result: result('old') },
      async () => {
        replaced = taken(newServer()).then(() => order.push('replaced'))
        while (order.length === 0 && !(await isSomebodyWaiting())) await new Promise(setImmediate)
        order.push('written')
      },
      old,
    )
    await replaced
    expect(order).toEqual(['written', 'replaced'])
  })
})
