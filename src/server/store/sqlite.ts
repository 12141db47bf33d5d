// The SQLite database of a state directory: libsql through Kysely, write-ahead log, every commit synced.
// libsql answers synchronously, on the thread of the server: rows stay small, large payloads are files (blobs.ts).

import { Kysely } from 'kysely'
import { serviceError } from '../errors.ts'
import { emptyLists } from './empty-lists.ts'
import { migrate } from './migrate.ts'
import type { Database } from './schema.ts'
import { PatientSqliteDialect } from './sqlite-patience.ts'

/** The part of the better-sqlite3 interface that we need; libsql has the same. */
interface SqliteDriver {
  readonly inTransaction: boolean
  exec(sql: string): unknown
  close(): void
  prepare(sql: string): { readonly reader: boolean; all(parameters: readonly unknown[]): unknown[] }
}

/** With all tables. */
export async function openSqlite(file: string): Promise<Kysely<Database>> {
  const db = await connectSqlite(file)
  await migrate(db)
  return db
}

export async function connectSqlite(file: string): Promise<Kysely<Database>> {
  const database = await openDriver(file)
  // FULL: an acknowledged row survives power loss too. The setting belongs to the connection and there is one.
  database.exec('PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL')
  // Its own way of waiting for another process would hold this one up: sqlite-patience.ts waits.
  database.exec('PRAGMA busy_timeout = 0')
  const dialect = new PatientSqliteDialect({ database: withoutExtras(database) as never }, database)
  return new Kysely<Database>({ dialect, plugins: [emptyLists] })
}

export async function openDriver(file: string): Promise<SqliteDriver> {
  const libsql = await import('libsql').catch((cause) => {
    throw serviceError('MISSING_PACKAGE', { package: 'libsql', use: 'the SQLite database' }, { cause })
  })
  return new libsql.default(file) as unknown as SqliteDriver
}

/** libsql adds a `_metadata` key to rows and gives blobs as ArrayBuffer; neither may leave this file. */
function withoutExtras(driver: SqliteDriver): Pick<SqliteDriver, 'prepare' | 'close'> {
  const prepare: SqliteDriver['prepare'] = (sql) => {
    const statement = driver.prepare(sql)
    const all = statement.all.bind(statement)
    statement.all = (parameters) => all(parameters).map((row) => cleanRow(row as Record<string, unknown>))
    return statement
  }
  return { close: () => driver.close(), prepare }
}

function cleanRow(row: Record<string, unknown>): Record<string, unknown> {
  const clean: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(row)) {
    if (key !== '_metadata') clean[key] = value instanceof ArrayBuffer ? new Uint8Array(value) : value
  }
  return clean
}
