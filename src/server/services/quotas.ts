// What of a tenant's limits is counted in the database: runs that are not unloaded, and bytes on disk. Over them things are
// refused; what makes work wait instead is the scheduler's.

import { type Kysely, sql } from 'kysely'
import { serviceError } from '../errors.ts'
import { isPostgres } from '../store/dialect.ts'
import type { Database } from '../store/schema.ts'
import type { LimitsOf } from './limits.ts'

export class Quotas {
  readonly #db: Kysely<Database>
  readonly #limitsOf: LimitsOf
  constructor(db: Kysely<Database>, limitsOf: LimitsOf) {
    this.#db = db
    this.#limitsOf = limitsOf
  }

  /** Inside the transaction that adds a run. Throws ADAPTERS_FULL. */
  async checkAdapters(trx: Kysely<Database>, tenant: string): Promise<void> {
    const limit = this.#limitsOf(tenant).adapters
    if (limit === null) return
    // Of several that come at once, each has to see the ones before it.
    if (isPostgres(trx)) await sql`select pg_advisory_xact_lock(hashtextextended(${tenant}, 0))`.execute(trx)
    const { count } = await trx
      .selectFrom('runs')
      .select(({ fn }) => fn.countAll<number>().as('count'))
      .where('tenant', '=', tenant)
      .where('state', 'in', ['creating', 'ready'])
      .executeTakeFirstOrThrow()
    if (Number(count) >= limit) throw serviceError('ADAPTERS_FULL', { count: Number(count), limit })
  }

  /** `bytes` are to come, and `freed` go with them. Throws STORAGE_FULL. */
  async checkStorage(tenant: string, bytes: number, freed = 0): Promise<void> {
    const limit = this.#limitsOf(tenant).storageBytes
    if (limit === null) return
    const used = await storageOf(this.#db, tenant)
    if (used - freed + bytes > limit) throw serviceError('STORAGE_FULL', { used, bytes, limit })
  }
}

/** Bytes of a tenant's checkpoints, and of its samplers without a name as long as their sessions last. */
async function storageOf(db: Kysely<Database>, tenant: string): Promise<number> {
  const checkpoints = await db
    .selectFrom('checkpoints')
    .select(({ fn }) => fn.sum<number | null>('bytes').as('bytes'))
    .where('tenant', '=', tenant)
    .executeTakeFirst()
  const samplers = await db
    .selectFrom('sampling_sessions')
    .innerJoin('sessions', 'sessions.id', 'sampling_sessions.session')
    .select(({ fn }) => fn.sum<number | null>('sampling_sessions.bytes').as('bytes'))
    .where('sampling_sessions.tenant', '=', tenant)
    .where('sessions.state', '=', 'active')
    .executeTakeFirst()
  return Number(checkpoints?.bytes ?? 0) + Number(samplers?.bytes ?? 0)
}
