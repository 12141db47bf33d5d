// Old rows of runs that go on: what happened before the restart point and was kept long enough. A number whose row is gone
// must not be taken for one that is still to come, so the run remembers up to where all numbers have had their turn.

import type { Kysely, Transaction } from 'kysely'
import type { Database } from './schema.ts'
import { transact } from './transact.ts'

/** Drops rows of operations that ended before `limit`. Gives the number of rows, at most about `portion`. */
export async function dropOldRowsOfLiveRuns(db: Kysely<Database>, limit: number, portion: number): Promise<number> {
  const runs = await db
    .selectFrom('operations as o')
    .innerJoin('runs as r', 'r.id', 'o.subject')
    .select(['r.id', 'r.used_through', 'r.restart_position'])
    .distinct()
    .where('r.state', 'in', ['creating', 'ready'])
    .where('o.finished_at', '<', limit)
    .where('o.payload', 'is', null)
    .where('o.payload_file', 'is', null)
    .where('o.result_file', 'is', null)
    .where((eb) => eb('o.position', '<=', eb.ref('r.restart_position')))
    .limit(portion)
    .execute()
  let count = 0
  for (const run of runs) {
    count += await transact(db, (trx) => dropOf(trx, run, limit, portion))
    if (count >= portion) break
  }
  return Math.min(count, portion)
}

interface LiveRun {
  readonly id: string
  readonly used_through: number
  readonly restart_position: number
}

async function dropOf(trx: Transaction<Database>, run: LiveRun, limit: number, portion: number): Promise<number> {
  const through = await usedThrough(trx, run)
  await trx.updateTable('runs').set({ used_through: through }).where('id', '=', run.id).execute()
  await trx.deleteFrom('refused_numbers').where('run', '=', run.id).where('seq', '<=', through).execute()
  const old = trx
    .selectFrom('operations')
    .select('id')
    .where('subject', '=', run.id)
    .where('finished_at', '<', limit)
    .where('position', '<=', run.restart_position)
    .where('payload', 'is', null)
    .where('payload_file', 'is', null)
    .where('result_file', 'is', null)
    .where((eb) => eb.or([eb('seq', 'is', null), eb('seq', '<=', through)]))
    .limit(portion)
  const { numDeletedRows } = await trx.deleteFrom('operations').where('id', 'in', old).executeTakeFirstOrThrow()
  return Number(numDeletedRows)
}

/** The last of the numbers that follow each other without a gap, from those that are known to be used. */
async function usedThrough(trx: Transaction<Database>, { id, used_through }: LiveRun): Promise<number> {
  const ended = await trx
    .selectFrom('operations')
    .select('seq')
    .where('subject', '=', id)
    .where('seq', '>', used_through)
    .where('state', 'in', ['done', 'failed'])
    .execute()
  const refused = await trx
    .selectFrom('refused_numbers')
    .select('seq')
    .where('run', '=', id)
    .where('seq', '>', used_through)
    .execute()
  const used = new Set([...ended, ...refused].map(({ seq }) => Number(seq)))
  let through = Number(used_through)
  while (used.has(through + 1)) through++
  return through
}
