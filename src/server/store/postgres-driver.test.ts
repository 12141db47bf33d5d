import { Kysely } from 'kysely'
import type { Pool } from 'pg'
import { expect, it } from 'vitest'
import { lastingPostgres } from './postgres-driver.ts'
import type { Database } from './schema.ts'

const SHUT_DOWN = Object.assign(new Error('terminating connection due to administrator command'), { code: '57P01' })
const PAUSED = Object.assign(new Error('terminating connection due to idle-in-transaction timeout'), { code: '25P03' })

interface Client {
  readonly queries: string[]
  isDropped: boolean
}

/** A pool that hands out, one after the other, connections that break at their n-th query. */
const poolOf = (...breaks: readonly number[]) => poolBreaking(SHUT_DOWN, ...breaks)
function poolBreaking(cause: Error, ...breaks: readonly number[]) {
  const clients: Client[] = []
  const connect = async () => {
    const breaksAt = breaks[clients.length] ?? Number.POSITIVE_INFINITY
    const client: Client = { queries: [], isDropped: false }
    clients.push(client)
    return {
      query: async (sql: string) => {
        client.queries.push(sql)
        if (client.queries.length >= breaksAt) throw cause
        return { command: 'SELECT', rowCount: 0, rows: [] }
      },
      release: (isBroken = false) => {
        client.isDropped = isBroken
      },
    }
  }
  const pool = { connect, end: async () => {} } as unknown as Pool
  return { clients, db: new Kysely<Database>({ dialect: lastingPostgres(pool) }) }
}

it('reads although none of the connections that the pool had has survived a restart', async () => {
  const { clients, db } = poolOf(1, 1, 1, 1, 1)
  expect(await db.selectFrom('runs').select('id').execute()).toEqual([])
  expect(clients.map(({ isDropped }) => isDropped)).toEqual([true, true, true, true, true, false])
})

it('writes once outside a transaction, and says that nobody knows whether it was written', async () => {
  const { clients, db } = poolOf(1)
  const written = db.updateTable('runs').set({ state: 'ready' }).execute()
  await expect(written).rejects.toMatchObject({ code: 'DATABASE_AWAY' })
  expect(clients).toHaveLength(1)
})

it('sends nothing of a transaction to another connection than the one that it began on', async () => {
  const { clients, db } = poolOf(2)
  const transaction = db.transaction().execute(async (trx) => {
    const broken = trx.updateTable('runs').set({ state: 'ready' }).execute()
    await expect(broken).rejects.toMatchObject({ code: 'DATABASE_AWAY' })
    await trx.updateTable('runs').set({ state: 'failed' }).execute()
  })
  await expect(transaction).rejects.toMatchObject({ code: 'DATABASE_AWAY' })
  expect(clients).toHaveLength(1)
})

it('does not commit what its connection took along', async () => {
  const { clients, db } = poolOf(2)
  const transaction = db.transaction().execute(async (trx) => {
    await trx
      .selectFrom('runs')
      .select('id')
      .execute()
      .catch(() => {})
  })
  await expect(transaction).rejects.toMatchObject({ code: 'DATABASE_AWAY' })
  expect(clients).toHaveLength(1)
})

it('takes a transaction that the database ended, while this server was paused in it, for one of a lost connection', async () => {
  const { db } = poolBreaking(PAUSED, 2)
  const transaction = db.transaction().execute((trx) => trx.selectFrom('runs').select('id').execute())
  await expect(transaction).rejects.toMatchObject({ code: 'DATABASE_AWAY' })
})
