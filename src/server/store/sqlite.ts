// The SQLite database of a state directory: libsql through Kysely, write-ahead log, every commit synced before anybody hears
// of it. libsql answers synchronously, on the thread of the server: rows stay small, large payloads are files (blobs.ts).

import { Kysely } from 'kysely'
import { emptyLists } from './empty-lists.ts'
import { migrate } from './migrate.ts'
import type { Database } from './schema.ts'
import { SharedSqliteDialect } from './sqlite-driver.ts'
import { openLibsql, SqliteFile } from './sqlite-file.ts'

/** With all tables. */
export async function openSqlite(file: string): Promise<Kysely<Database>> {
  const db = await connectSqlite(file)
  await migrate(db)
  return db
}

export async function connectSqlite(file: string): Promise<Kysely<Database>> {
  return kyselyOf(await openSqliteFile(file))
}

/** As a server needs it; whoever works on it goes through `kyselyOf`. */
export async function openSqliteFile(file: string): Promise<SqliteFile> {
  const database = await openLibsql(file)
  // NORMAL: SQLite syncs what it moves from the log to the database; commits are synced by sqlite-driver.ts.
  database.exec('PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL')
  // Its own way of waiting for another process would hold this one up: sqlite-driver.ts waits.
  database.exec('PRAGMA busy_timeout = 0')
  return new SqliteFile(database, file)
}

export function kyselyOf(file: SqliteFile): Kysely<Database> {
  return new Kysely<Database>({ dialect: new SharedSqliteDialect(file), plugins: [emptyLists] })
}
