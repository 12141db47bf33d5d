// What a state directory holds, in numbers: for its operator, from the database and the files alone, also while a server
// works on it. It changes nothing.

import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type Kysely, type RawBuilder, sql } from 'kysely'
import { type DatabasePlace, readDatabase, sqliteFile } from './database.ts'
import { isPostgres } from './dialect.ts'
import type { Database } from './schema.ts'

export interface StateFacts {
  /** Rows by state. */
  readonly operations: Readonly<Record<string, number>>
  readonly runs: Readonly<Record<string, number>>
  readonly checkpoints: number
  readonly restartPoints: number
  /** Started after its run's restart point: what bringing all runs back would repeat at most. */
  readonly toRepeat: number
  readonly bytes: { readonly database: number; readonly blobs: number; readonly adapters: number }
}

/** Throws STORAGE where no server has kept its state. */
export async function stateFacts(place: DatabasePlace): Promise<StateFacts> {
  const db = await readDatabase(place)
  try {
    return { ...(await rows(db)), bytes: await stateSizes(db, place.stateDir) }
  } finally {
    await db.destroy()
  }
}

async function rows(db: Kysely<Database>): Promise<Omit<StateFacts, 'bytes'>> {
  const count = async (query: RawBuilder<{ n: number }>) => Number((await query.execute(db)).rows[0]?.n ?? 0)
  return {
    operations: await byState(db, 'operations'),
    runs: await byState(db, 'runs'),
    checkpoints: await count(sql`select count(*) as n from checkpoints`),
    restartPoints: await count(sql`select count(*) as n from runs where restart_folder is not null`),
    toRepeat: await count(sql`select count(*) as n from operations o join runs r on r.id = o.subject
      where r.state in ('creating', 'ready') and o.position > r.restart_position`),
  }
}

async function byState(db: Kysely<Database>, table: 'operations' | 'runs'): Promise<Record<string, number>> {
  const { rows } = await sql<{ state: string; n: number }>`
    select state, count(*) as n from ${sql.table(table)} group by state order by state`.execute(db)
  return Object.fromEntries(rows.map(({ state, n }) => [state, n]))
}

/** Bytes on disk; of a shared folder and database, those of all its servers. */
export async function stateSizes(db: Kysely<Database>, stateDir: string): Promise<StateFacts['bytes']> {
  const file = sqliteFile(stateDir)
  return {
    database: isPostgres(db) ? await postgresBytes(db) : (await bytesOf(file)) + (await bytesOf(`${file}-wal`)),
    blobs: await bytesOf(join(stateDir, 'blobs')),
    adapters: await bytesOf(join(stateDir, 'checkpoints')),
  }
}

async function postgresBytes(db: Kysely<Database>): Promise<number> {
  const { rows } = await sql<{ bytes: number }>`select pg_database_size(current_database()) as bytes`.execute(db)
  return rows[0]?.bytes ?? 0
}

/** Of a file, or of all files below a folder; what is not there has none. */
async function bytesOf(path: string): Promise<number> {
  const found = await stat(path).catch(() => null)
  if (!found?.isDirectory()) return found?.size ?? 0
  // Checkpoints are removed while others are counted.
  const names = await readdir(path).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return []
    throw cause
  })
  const sizes = await Promise.all(names.map((name) => bytesOf(join(path, name))))
  return sizes.reduce((sum, size) => sum + size, 0)
}
