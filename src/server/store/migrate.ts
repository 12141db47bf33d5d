// Brings the tables of a database up to this version. Several servers may start on one database at once: the first one does
// it, the others wait for it.

import { type Kysely, Migrator } from 'kysely'
import { serviceError } from '../errors.ts'
import { migrationProvider } from './migrations.ts'
import type { Database } from './schema.ts'

/** Throws DATABASE_NEWER. */
export async function migrate(db: Kysely<Database>): Promise<void> {
  const { error } = await new Migrator({ db, provider: migrationProvider }).migrateToLatest()
  if (error instanceof Error && error.message.startsWith('corrupted migrations')) {
    throw serviceError('DATABASE_NEWER', {}, { cause: error })
  }
  if (error) throw error
}
