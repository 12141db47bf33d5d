// The order in which operations are carried out, as numbers of the whole database. Knows no operation.

import { sql, type Transaction } from 'kysely'
import { isPostgres } from './dialect.ts'
import type { Database } from './schema.ts'

/** Ascending, and beyond all that were handed out before: also to other servers on the same database. */
export async function nextPositions(trx: Transaction<Database>, count: number): Promise<number[]> {
  if (isPostgres(trx)) {
    const { rows } = await sql<{ position: number }>`
      select nextval('operation_positions') as position from generate_series(1, ${count})`.execute(trx)
    return rows.map(({ position }) => position).sort((a, b) => a - b)
  }
  const last = await trx
    .selectFrom('operations')
    .select(({ fn }) => fn.max('position').as('position'))
    .executeTakeFirst()
  return Array.from({ length: count }, (_, i) => Number(last?.position ?? 0) + 1 + i)
}
