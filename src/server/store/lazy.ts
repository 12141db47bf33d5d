// How a transaction says that it need not be on the disk when it is over: in PostgreSQL's words, which the SQLite driver
// understands too. It is there before anything that is written later, so whoever finds the later thing after a crash finds
// this too.

import { type CompiledQuery, type Kysely, sql } from 'kysely'
import type { Database } from './schema.ts'

const WORDS = 'set local synchronous_commit = off'

export async function beLazy(trx: Kysely<Database>): Promise<void> {
  await sql.raw(WORDS).execute(trx)
}

export const isLazyWord = (query: CompiledQuery) => query.sql === WORDS
