import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Kysely, sql } from 'kysely'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { openDatabase } from './database.ts'
import { Journal, type NewOperation } from './journal.ts'
import type { Database } from './schema.ts'
import { newDatabase, newEmptyDatabase, type TestDatabase } from './testing/databases.ts'
import { type PostgresServer, startPostgres } from './testing/postgres-server.ts'
import { transact } from './transact.ts'

const operation = (identity: string | null, payload = 'payload'): NewOperation => ({
  tenant: 'anna',
  session: 's',
  subject: 's:train:0',
  kind: 'forward_backward',
  identity,
  payload: new TextEncoder().encode(payload),
})
const session = (id: string) => ({
  ...{ id, tenant: 'anna', tags: '[]', user_metadata: '{}', created_at: 2 ** 43, heartbeat_at: 0 },
  state: 'active' as const,
})

let stateDir: string
beforeAll(() => {
  stateDir = mkdtempSync(join(tmpdir(), 'twinkle-postgres-test-'))
})
afterAll(() => rmSync(stateDir, { recursive: true }))

describe('a PostgreSQL database', () => {
  let database: TestDatabase
  let db: Kysely<Database>
  beforeEach(async () => {
    database = await newDatabase()
    db = await open()
  })
  afterEach(async () => {
    await db.destroy()
    await database.remove()
  })
  const open = () => openDatabase({ database: database.url, stateDir })

  it('gets its tables once, though several servers start on it at once', async () => {
    const empty = await newEmptyDatabase()
    const place = { database: empty.url, stateDir }
    const opened = await Promise.all([openDatabase(place), openDatabase(place), openDatabase(place)])
    for (const one of opened)
      await one
        .insertInto('sessions')
        .values(session(`${opened.indexOf(one)}`))
        .execute()
    expect(await opened[0]?.selectFrom('sessions').select('id').execute()).toHaveLength(3)
    for (const one of opened) await one.destroy()
    await empty.remove()
  })

  it('gives numbers and bytes as SQLite does', async () => {
    await db.insertInto('sessions').values(session('a')).execute()
    const row = await db
      .selectFrom('sessions')
      .select(({ fn }) => ['created_at', fn.sum('created_at').as('sum'), fn.countAll().as('count')])
      .groupBy('created_at')
      .executeTakeFirstOrThrow()
    expect(row).toEqual({ created_at: 2 ** 43, sum: 2 ** 43, count: 1 })
    const journal = new Journal(db, stateDir)
    const { id } = await journal.append(operation(null))
    expect((await journal.find('anna', id))?.payload).toEqual(new TextEncoder().encode('payload'))
    await expect(sql`select ${sql.lit(2 ** 53)}::bigint as n`.execute(db)).rejects.toThrow(/9007199254740992/)
  })

  it('sorts text byte by byte, so that the pages of a list have one order on every database', async () => {
    for (const id of ['b', 'a:train:2', 'B', 'a:train:10', 'a-'])
      await db.insertInto('sessions').values(session(id)).execute()
    const rows = await db.selectFrom('sessions').select('id').orderBy('id').execute()
    expect(rows.map(({ id }) => id)).toEqual(['B', 'a-', 'a:train:10', 'a:train:2', 'b'])
  })

  it('finds nothing under a name that its text cannot hold, and takes an empty list for one', async () => {
    const none = await db.selectFrom('sessions').select('id').where('id', '=', 'a\0').execute()
    expect([none, await db.selectFrom('sessions').select('id').where('id', 'in', []).execute()]).toEqual([[], []])
    await db
      .insertInto('sessions')
      .values({ ...session('a'), display_name: 'x\0y' })
      .execute()
    expect(await db.selectFrom('sessions').select('display_name').execute()).toEqual([{ display_name: 'x\ufffdy' }])
  })

  it('takes one submission of those that come at once under one identity', async () => {
    const other = await open()
    const journals = [new Journal(db, stateDir), new Journal(other, stateDir)]
    for (const identity of ['1', '2', '3', '4', '5']) {
      const appended = await Promise.all(
        [...journals, ...journals].map((journal) => journal.append(operation(identity))),
      )
      expect(appended.filter(({ isNew }) => isNew)).toHaveLength(1)
      expect(new Set(appended.map(({ id }) => id)).size).toBe(1)
    }
    await other.destroy()
  })

  it('hands out every position once and ascending, to several servers', async () => {
    const other = await open()
    const journals = [new Journal(db, stateDir), new Journal(other, stateDir)]
    const started = await Promise.all(
      journals.map(async (journal) => {
        const ids: string[] = []
        for (let i = 0; i < 20; i++) ids.push((await journal.append(operation(null))).id)
        for (let i = 0; i < 20; i += 2) await journal.start(ids.slice(i, i + 2))
        return ids
      }),
    )
    await other.destroy()
    const rows = await db.selectFrom('operations').select(['id', 'position']).execute()
    const positions = new Map(rows.map(({ id, position }) => [id, Number(position)]))
    expect(new Set(positions.values()).size).toBe(40)
    for (const ids of started) {
      const own = ids.map((id) => positions.get(id) as number)
      expect(own).toEqual([...own].sort((a, b) => a - b))
    }
  })

  it('syncs what is acknowledged after a start too, which need not be on the disk at once', async () => {
    const journal = new Journal(db, stateDir)
    const { id } = await journal.append(operation(null))
    expect(await journal.start([id])).toEqual([id])
    const { rows } = await sql<{ synchronous_commit: string }>`show synchronous_commit`.execute(db)
    expect(rows).toEqual([{ synchronous_commit: 'on' }])
  })

  it('carries out again what another transaction was in the way of', async () => {
    for (const id of ['a', 'b']) await db.insertInto('sessions').values(session(id)).execute()
    // Each one takes its first row before the other may take its second: PostgreSQL ends one of them.
    let arrived = 0
    let both: () => void = () => {}
    const met = new Promise<void>((resolve) => (both = resolve))
    const update = (ids: readonly string[]) =>
      transact(db, async (trx) => {
        for (const id of ids) {
          await trx
            .updateTable('sessions')
            .set(({ eb }) => ({ heartbeat_at: eb('heartbeat_at', '+', 1) }))
            .where('id', '=', id)
            .execute()
          if (++arrived === 2) both()
          await met
        }
      })
    await Promise.all([update(['a', 'b']), update(['b', 'a'])])
    const rows = await db.selectFrom('sessions').select('heartbeat_at').execute()
    expect(rows).toEqual([{ heartbeat_at: 2 }, { heartbeat_at: 2 }])
  })

  it('says in a sentence what is wrong with an address, and never its password', async () => {
    const refusal = async (change: (url: URL) => void) => {
      const url = new URL(database.url)
      url.password = 'secret'
      change(url)
      const error = await openDatabase({ database: url.href, stateDir }).catch((cause) => cause)
      expect(`${error.message} ${error.stack}`).not.toMatch(/secret/)
      return error.message
    }
    expect(await refusal((url) => (url.pathname = '/gone'))).toMatch(
      /\/gone cannot be opened: database "gone" does not exist/,
    )
    expect(await refusal((url) => (url.username = 'mallory'))).toMatch(/role "mallory" does not exist/)
    expect(await refusal((url) => url.searchParams.set('host', stateDir))).toMatch(/cannot be opened: connect ENOENT/)
  })
})

describe('while PostgreSQL is away', () => {
  let server: PostgresServer
  beforeAll(async () => {
    server = await startPostgres()
  })
  afterAll(() => server.stop())

  it('requests wait for it, and what was under way is carried out once', async () => {
    const db = await openDatabase({ database: server.url('postgres'), stateDir })
    const journal = new Journal(db, stateDir)
    let isOver = false
    const append = async (worker: number) => {
      const appended: { id: string; isNew: boolean }[] = []
      for (let i = 0; !isOver; i++) appended.push(await journal.append(operation(`${worker}:${i}`)))
      return appended
    }
    const workers = Array.from({ length: 8 }, (_, worker) => append(worker))
    const isUnderWay = async () => (await db.selectFrom('operations').select('id').limit(20).execute()).length === 20
    while (!(await isUnderWay())) await new Promise(setImmediate)
    await server.kill()
    const reading = db.selectFrom('operations').select('id').limit(1).execute()
    await server.restart()
    expect(await reading).toHaveLength(1)
    isOver = true
    const appended = (await Promise.all(workers)).flat()
    const rows = await db.selectFrom('operations').select(['id', 'identity']).execute()
    expect(appended.every(({ isNew }) => isNew)).toBe(true)
    expect(rows.map(({ id }) => id).sort()).toEqual(appended.map(({ id }) => id).sort())
    await db.destroy()
  })

  it('what was being carried out is repeated in its order, though the start may be forgotten', async () => {
    const db = await openDatabase({ database: server.url('postgres'), stateDir })
    const journal = new Journal(db, stateDir)
    const subject = 's:train:1'
    const ids: string[] = []
    for (let i = 0; i < 5; i++) ids.push((await journal.append({ ...operation(null), subject })).id)
    for (const id of ids) {
      await journal.start([id])
      await server.kill()
      await server.restart()
      await journal.finish({ id, isStarted: true })
    }
    expect((await journal.effectsAfter(subject, 0)).map(({ id }) => id)).toEqual(ids)
    await db.destroy()
  })
})
