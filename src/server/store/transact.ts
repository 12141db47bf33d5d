// Transactions that end well although others write at the same time. SQLite carries them out one after the other; PostgreSQL
// side by side, and ends one of two that are in each other's way: that one is carried out again, from its first read on.

import { setTimeout } from 'node:timers/promises'
import type { Kysely, Transaction } from 'kysely'
import { beLazy } from './lazy.ts'
import { isAway } from './postgres-driver.ts'
import type { Database } from './schema.ts'

const ATTEMPTS = 6
const MOST_PAUSE_MS = 20

/** Serialisation failure, deadlock, and a row that another one wrote after we had looked for it. */
const CONFLICTS: ReadonlySet<unknown> = new Set(['40001', '40P01', '23505'])

export interface Transacting {
  /** The work finds out by itself whether it has been done: then it is also repeated when nobody knows whether it was. */
  readonly isRepeatable?: boolean
  /**
   * It need not be on the disk yet when this returns. It is there before anything that is written later, so whoever finds
   * the later thing after a crash finds this too.
   */
  readonly isLazy?: boolean
}

/** `work` may run more than once: it changes nothing but the database. */
export async function transact<T>(
  db: Kysely<Database>,
  work: (trx: Transaction<Database>) => Promise<T>,
  { isRepeatable = false, isLazy = false }: Transacting = {},
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await (isLazy ? lazily(db, work) : db.transaction().execute(work))
    } catch (cause) {
      const { code } = cause as { code?: unknown }
      const isWorthIt = CONFLICTS.has(code) || (isRepeatable && isAway(cause))
      if (!isWorthIt || attempt === ATTEMPTS) throw cause
      await setTimeout(Math.random() * MOST_PAUSE_MS * attempt)
    }
  }
}

async function lazily<T>(db: Kysely<Database>, work: (trx: Transaction<Database>) => Promise<T>): Promise<T> {
  return db.transaction().execute(async (trx) => {
    await beLazy(trx)
    return work(trx)
  })
}
