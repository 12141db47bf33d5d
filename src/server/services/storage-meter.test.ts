import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Kysely } from 'kysely'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openDatabase } from '../store/database.ts'
import type { Database } from '../store/schema.ts'
import { newDatabase, type TestDatabase } from '../store/testing/databases.ts'
import { readStorageMeter, writeStorageOf } from './storage-meter.ts'
import { HOUR_MS } from './usage.ts'

const T0 = 1_000 * HOUR_MS
const MINUTE = HOUR_MS / 60
let folder: string
let database: TestDatabase
let db: Kysely<Database>

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'twinkle-meter-'))
  database = await newDatabase()
  db = await openDatabase({ database: database.url, stateDir: folder })
  const shape = {
    tenant: 'anna',
    base_model: 'm',
    rank: 1,
    alpha: 1,
    train_attention: 1,
    train_mlp: 1,
    train_unembed: 1,
  }
  const times = { created_at: T0, last_request_at: T0 }
  for (const id of ['r', 'q']) {
    await db
      .insertInto('runs')
      .values({ id, session: `s-${id}`, seed: '0', user_metadata: '{}', state: 'ready', ...shape, ...times })
      .execute()
  }
  await readStorageMeter(db, T0)
})
afterEach(async () => {
  await db.destroy()
  await database.remove()
  rmSync(folder, { recursive: true })
})

async function add(name: string, created_at: number, bytes: number, expires_at: number | null = null, run = 'r') {
  const shape = { base_model: 'm', rank: 1, alpha: 1, train_attention: 1, train_mlp: 1, train_unembed: 1 }
  const row = { tenant: 'anna', run, kind: 'weights', folder: name, files: '[]', has_optimizer: 0 } as const
  const { id } = await db
    .insertInto('checkpoints')
    .values({ ...row, ...shape, name, bytes, created_at, expires_at, user_metadata: '{}' })
    .returning('id')
    .executeTakeFirstOrThrow()
  return id
}

async function remove(id: number, now: number) {
  await db.transaction().execute(async (trx) => {
    await writeStorageOf(trx, id, now)
    await trx.deleteFrom('checkpoints').where('id', '=', id).execute()
  })
}

/** Byte hours by hour since T0. */
async function read(now: number, session = 's-r') {
  await readStorageMeter(db, now)
  const rows = await db.selectFrom('storage_usage').selectAll().where('session', '=', session).orderBy('hour').execute()
  return rows.map(({ hour, byte_hours }) => [(hour - T0) / HOUR_MS, byte_hours])
}

describe('the storage meter', () => {
  it('adds up to bytes times hours however often it is read, each hour for itself', async () => {
    await add('a', T0 + 30 * MINUTE, 600)
    for (const minutes of [40, 40, 61, 90, 89, 185]) await read(T0 + minutes * MINUTE)
    expect(await read(T0 + 200 * MINUTE)).toEqual([
      [0, 300],
      [1, 600],
      [2, 600],
      [3, 200],
    ])
  })

  it('counts what was removed or ran out between two readings up to that moment', async () => {
    const id = await add('a', T0, 600)
    await add('b', T0, 60, T0 + 90 * MINUTE)
    await remove(id, T0 + 20 * MINUTE)
    expect(await read(T0 + 180 * MINUTE)).toEqual([
      [0, 260],
      [1, 30],
    ])
  })

  it('keeps sessions apart, and begins when it is first read', async () => {
    await db.deleteFrom('meters').execute()
    await add('a', T0, 600)
    await add('b', T0, 60, null, 'q')
    await readStorageMeter(db, T0 + 2 * HOUR_MS)
    expect(await read(T0 + 3 * HOUR_MS)).toEqual([[2, 600]])
    expect(await read(T0 + 3 * HOUR_MS, 's-q')).toEqual([[2, 60]])
  })
})
