// Which kind of database this is, for the few places where SQL has two words for one thing.

import { type Kysely, PostgresAdapter } from 'kysely'

/** `db` may be a transaction. */
export function isPostgres(db: Pick<Kysely<unknown>, 'getExecutor'>): boolean {
  return db.getExecutor().adapter instanceof PostgresAdapter
}
