// Opens the database of a server: a file of its state directory, or one of a PostgreSQL server, which several servers may
// share. Everybody else gets a Kysely and need not know which one it is.

import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Kysely } from 'kysely'
import type { ServerConfig } from '../config-fields.ts'
import { migrate } from './migrate.ts'
import { connectPostgres } from './postgres.ts'
import type { Database } from './schema.ts'
import { connectSqlite } from './sqlite.ts'

export type DatabasePlace = Pick<ServerConfig, 'database' | 'stateDir'>

/** For the operator: what breaks while nobody waits for it. */
type Log = (cause: unknown) => void

/** Opens it with all tables of this version. Throws DATABASE_UNREACHABLE, DATABASE_UNFIT, DATABASE_NEWER. */
export async function openDatabase(place: DatabasePlace, log?: Log): Promise<Kysely<Database>> {
  const db = await connectDatabase(place, log)
  try {
    await migrate(db)
    return db
  } catch (cause) {
    await db.destroy()
    throw cause
  }
}

/** Opens it as it is. */
export async function connectDatabase(
  { database, stateDir }: DatabasePlace,
  log: Log = () => {},
): Promise<Kysely<Database>> {
  if (database !== 'sqlite') return connectPostgres(database, log)
  mkdirSync(stateDir, { recursive: true })
  return connectSqlite(sqliteFile(stateDir))
}

export function sqliteFile(stateDir: string): string {
  return join(stateDir, 'twinkle.db')
}
