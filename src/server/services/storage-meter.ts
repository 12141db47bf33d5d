// How long how many bytes of checkpoints lay there: a meter that is read every few minutes and whenever somebody asks, and
// once more for what is removed, so that nothing is left out or counted twice. Its readings are sums by tenant, session and
// base model in hours; what happened while no server ran counts too. Copies count as what they hold, though they share files.

import { type Kysely, sql, type Transaction } from 'kysely'
import type { Database } from '../store/schema.ts'
import { transact } from '../store/transact.ts'
import { HOUR_MS } from './usage.ts'

const NAME = 'storage'

/** Brings the ledger up to now. */
export async function readStorageMeter(db: Kysely<Database>, now = Date.now()): Promise<void> {
  await transact(db, async (trx) => {
    const last = await lastReading(trx, now)
    await write(trx, last, now)
    if (last < now) await trx.updateTable('meters').set({ at: now }).where('name', '=', NAME).execute()
  })
}

/** Part of the transaction that removes a checkpoint, before it does. */
export async function writeStorageOf(trx: Transaction<Database>, checkpoint: number, now = Date.now()): Promise<void> {
  await write(trx, await lastReading(trx, now), now, checkpoint)
}

/** Holds the meter until the transaction ends: of two readings at once, one waits. The first one finds it set to `now`. */
async function lastReading(trx: Transaction<Database>, now: number): Promise<number> {
  const { at } = await trx
    .insertInto('meters')
    .values({ name: NAME, at: now })
    .onConflict((conflict) => conflict.column('name').doUpdateSet(({ ref }) => ({ at: ref('meters.at') })))
    .returning('at')
    .executeTakeFirstOrThrow()
  return Number(at)
}

/** [from, to) in parts of an hour. */
async function write(trx: Transaction<Database>, from: number, to: number, only?: number): Promise<void> {
  for (let at = from; at < to; ) {
    const hour = at - (at % HOUR_MS)
    const end = Math.min(to, hour + HOUR_MS)
    await writePart(trx, hour, at, end, only)
    at = end
  }
}

async function writePart(trx: Transaction<Database>, hour: number, from: number, to: number, only?: number) {
  const begin = sql<number>`case when c.created_at > ${from} then c.created_at else ${from} end`
  const end = sql<number>`case when c.expires_at < ${to} then c.expires_at else ${to} end`
  let lying = trx
    .selectFrom('checkpoints as c')
    .innerJoin('runs as r', 'r.id', 'c.run')
    .select([
      'c.tenant',
      sql<number>`cast(${hour} as bigint)`.as('hour'),
      'r.session',
      'c.base_model',
      sql<number>`sum(cast(c.bytes as double precision) * ((${end}) - (${begin})) / cast(${HOUR_MS} as double precision))`.as(
        'byte_hours',
      ),
    ])
    .where('c.created_at', '<', to)
    .where(({ or, eb }) => or([eb('c.expires_at', 'is', null), eb('c.expires_at', '>', from)]))
    .groupBy(['c.tenant', 'r.session', 'c.base_model'])
  if (only !== undefined) lying = lying.where('c.id', '=', only)
  await trx
    .insertInto('storage_usage')
    .columns(['tenant', 'hour', 'session', 'base_model', 'byte_hours'])
    .expression(lying)
    .onConflict((conflict) =>
      conflict.columns(['tenant', 'hour', 'session', 'base_model']).doUpdateSet(({ eb, ref }) => ({
        byte_hours: eb(ref('storage_usage.byte_hours'), '+', ref('excluded.byte_hours')),
      })),
    )
    .execute()
}
