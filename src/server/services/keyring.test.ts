import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Kysely } from 'kysely'
import { sql } from 'kysely'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { openDatabase } from '../store/database.ts'
import type { Database } from '../store/schema.ts'
import { newDatabase, type TestDatabase } from '../store/testing/databases.ts'
import { Keyring } from './keyring.ts'
import { NO_LIMITS } from './limits.ts'
import { Tenants } from './tenants.ts'
import { Tokens } from './tokens.ts'

let folder: string
let database: TestDatabase
let db: Kysely<Database>
/** Another process on the same database: what the command line is to a server. */
let other: Kysely<Database>
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'twinkle-keyring-'))
  database = await newDatabase()
  db = await openDatabase({ database: database.url, stateDir: folder })
  other = await openDatabase({ database: database.url, stateDir: folder })
})
afterEach(async () => {
  await db.destroy()
  await other.destroy()
  await database.remove()
  rmSync(folder, { recursive: true })
})

const unreachable = (cause: unknown): never => {
  throw cause
}
const setLimits = (id: string, limits: object) =>
  other.transaction().execute(async (trx) => {
    const row = { id, name: id, limits: JSON.stringify(limits), created_at: 0 }
    await trx
      .insertInto('tenants')
      .values(row)
      .onConflict((c) => c.column('id').doUpdateSet(row))
      .execute()
    await trx.updateTable('key_changes').set({ version: sql<number>`version + 1` }).execute()
  })

it('finds limits that another process has set, at the next request of anybody, and tells who wants to know', async () => {
  const keyring = new Keyring(db, unreachable)
  const tenants = new Tenants([], { ...NO_LIMITS, adapters: 3 }, keyring, new Tokens(new Uint8Array(32)))
  await tenants.authenticate('tml-anna')
  expect(tenants.limitsOf('anna')).toEqual({ ...NO_LIMITS, adapters: 3 })

  const heard: unknown[] = []
  tenants.onLimits(() => heard.push(tenants.limitsOf('anna').weight))
  await setLimits('anna', { weight: 2, adapters: null })
  await tenants.authenticate('tml-bert')
  expect(tenants.limitsOf('anna')).toEqual({ ...NO_LIMITS, weight: 2 })
  expect(tenants.limitsOf('bert').adapters).toBe(3)
  await tenants.authenticate('tml-bert')
  expect(heard).toEqual([2])
})

it('reads one number for requests that come at once, however many they are', async () => {
  const keyring = new Keyring(db, unreachable)
  await keyring.refresh()
  let queries = 0
  const counted = db.withPlugin({
    transformQuery: ({ node }) => {
      queries++
      return node
    },
    transformResult: async ({ result }) => result,
  })
  const busy = new Keyring(counted, unreachable)
  await busy.refresh()
  queries = 0
  await Promise.all(Array.from({ length: 100 }, () => busy.refresh()))
  expect(queries).toBe(1)
})
