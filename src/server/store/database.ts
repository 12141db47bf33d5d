// Opens the database of a server: a file of its state directory, or one of a PostgreSQL server, which several servers may
// share. Everybody else gets a Kysely and need not know which one it is.

import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Kysely } from 'kysely'
import type { ServerConfig } from '../config-fields.ts'
import { shownDatabase } from '../config-values.ts'
import { serviceError } from '../errors.ts'
import { migrate } from './migrate.ts'
import { connectPostgres } from './postgres.ts'
import type { Database } from './schema.ts'
import { connectSqlite } from './sqlite.ts'

export type DatabasePlace = Pick<ServerConfig, 'database' | 'stateDir'>

/** For the operator: what breaks while nobody waits for it. */
type Log = (cause: unknown) => void

/** Opens it with all tables of this version. Throws DATABASE_UNREACHABLE, DATABASE_UNFIT, DATABASE_NEWER. */
export async function openDatabase(place: DatabasePlace, log?: Log): Promise<Kysely<Database>> {
  const db = await connect(place, log)
  try {
    await migrate(db)
    return db
  } catch (cause) {
    await db.destroy()
    throw cause
  }
}

/** One that a server has used, as it is: for looking into it, also while a server works on it. Throws STORAGE. */
export async function readDatabase(place: DatabasePlace): Promise<Kysely<Database>> {
  checkUsed(place)
  const db = await connect(place)
  const tables = await db.introspection.getTables()
  if (tables.some(({ name }) => name === 'operations')) return db
  await db.destroy()
  throw unread(`no server has used ${shownDatabase(place.database)}`)
}

/** Throws STORAGE where no server has kept its state, as far as a look at the state directory tells. */
export function checkUsed({ database, stateDir }: DatabasePlace): void {
  const file = sqliteFile(stateDir)
  if (database === 'sqlite' && !existsSync(file)) throw unread(`${file} does not exist`)
}

const unread = (problem: string) => serviceError('STORAGE', { action: 'read', problem })

async function connect({ database, stateDir }: DatabasePlace, log: Log = () => {}): Promise<Kysely<Database>> {
  if (database !== 'sqlite') return connectPostgres(database, log)
  mkdirSync(stateDir, { recursive: true })
  return connectSqlite(sqliteFile(stateDir))
}

export function sqliteFile(stateDir: string): string {
  return join(stateDir, 'twinkle.db')
}
