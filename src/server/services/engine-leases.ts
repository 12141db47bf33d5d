// Which server has the engine of a base model, where servers share a database: a row that its owner has to renew, and a
// number that goes up with every owner. Whatever an owner writes about the model's work is checked against that number in
// the same transaction, so that one that was paused and replaced cannot write any more. Times are the database's: the
// clocks of the servers may differ. Knows rows; engine-share.ts knows what a lease is good for.

import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import { type Kysely, sql } from 'kysely'
import type { EngineInfo } from '../../backends/backend.ts'
import type { Database } from '../store/schema.ts'
import type { Signals } from '../store/signals.ts'
import { type Tenure, TenureOver } from './tenure.ts'

export interface LeaseState {
  /** Null: nobody. */
  readonly owner: string | null
  /** Until somebody else may take it; 0 = now. */
  readonly remainingMs: number
  /** What the model's engine can do; null before it was opened for the first time. */
  readonly info: EngineInfo | null
}

const NOW = sql<number>`(extract(epoch from clock_timestamp()) * 1000)::bigint`

export class EngineLeases {
  readonly #db: Kysely<Database>
  readonly #signals: Signals
  readonly #leaseMs: number
  /** For operators: which machine and process. */
  readonly owner = `${hostname()}/${process.pid}/${randomBytes(4).toString('hex')}`

  constructor(db: Kysely<Database>, signals: Signals, leaseMs: number) {
    this.#db = db
    this.#signals = signals
    this.#leaseMs = leaseMs
  }

  /** Null when another server has it. */
  async take(baseModel: string): Promise<Lease | null> {
    const { owner } = this
    const expires_at = sql<number>`${NOW} + ${this.#leaseMs}::bigint`
    return this.#db.transaction().execute(async (trx) => {
      await trx
        .insertInto('engine_leases')
        .values({ base_model: baseModel, owner: null, fence: 0, expires_at: 0, info: null })
        .onConflict((conflict) => conflict.doNothing())
        .execute()
      // Waits for what the last owner is writing, and what it writes later waits for this.
      const free = await trx
        .selectFrom('engine_leases')
        .select('fence')
        .where('base_model', '=', baseModel)
        .where('expires_at', '<=', NOW)
        .forUpdate()
        .executeTakeFirst()
      if (!free) return null
      const fence = Number(free.fence) + 1
      await trx
        .updateTable('engine_leases')
        .set({ owner, fence, expires_at })
        .where('base_model', '=', baseModel)
        .execute()
      await this.#signals.send(trx, 'lease', baseModel)
      return new Lease(baseModel, owner, fence)
    })
  }

  /** False when another server has it by now. A lease that ran out goes on when nobody has taken it. */
  async renew(lease: Lease): Promise<boolean> {
    const expires_at = sql<number>`${NOW} + ${this.#leaseMs}::bigint`
    const { numUpdatedRows } = await this.#of(lease).set({ expires_at }).executeTakeFirst()
    return numUpdatedRows > 0n
  }

  /** Tells everybody what the model's engine can do. */
  async publish(lease: Lease, info: EngineInfo): Promise<void> {
    await this.#change(lease, { info: JSON.stringify(info) })
  }

  /** Another server may have it at once. */
  async release(lease: Lease): Promise<void> {
    await this.#change(lease, { owner: null, expires_at: 0 })
  }

  async #change(lease: Lease, change: { info: string } | { owner: null; expires_at: 0 }): Promise<void> {
    await this.#db.transaction().execute(async (trx) => {
      await lease.check(trx)
      await trx.updateTable('engine_leases').set(change).where('base_model', '=', lease.baseModel).execute()
      await this.#signals.send(trx, 'lease', lease.baseModel)
    })
  }

  #of({ baseModel, owner, fence }: Lease) {
    return this.#db
      .updateTable('engine_leases')
      .where('base_model', '=', baseModel)
      .where('owner', '=', owner)
      .where('fence', '=', fence)
  }

  async look(baseModel: string): Promise<LeaseState> {
    const row = await this.#db
      .selectFrom('engine_leases')
      .select(['owner', 'info', sql<number>`greatest(0, expires_at - ${NOW})`.as('remaining')])
      .where('base_model', '=', baseModel)
      .executeTakeFirst()
    return {
      owner: row?.owner ?? null,
      remainingMs: Number(row?.remaining ?? 0),
      info: row?.info == null ? null : (JSON.parse(row.info) as EngineInfo),
    }
  }
}

export class Lease implements Tenure {
  readonly baseModel: string
  readonly owner: string
  readonly fence: number
  /** Settles when this server knows that it is over. */
  readonly over: Promise<void>
  isOver = false
  #tellOver!: () => void

  constructor(baseModel: string, owner: string, fence: number) {
    this.baseModel = baseModel
    this.owner = owner
    this.fence = fence
    this.over = new Promise((resolve) => {
      this.#tellOver = resolve
    })
  }

  end(): void {
    this.isOver = true
    this.#tellOver()
  }

  /** Nobody can take the model over until the transaction ends: what it writes belongs to this tenure. */
  async check(trx: Kysely<Database>): Promise<void> {
    const row = await trx
      .selectFrom('engine_leases')
      .select('fence')
      .where('base_model', '=', this.baseModel)
      .where('owner', '=', this.owner)
      .where('fence', '=', this.fence)
      .forKeyShare()
      .executeTakeFirst()
    if (!row) throw new TenureOver(this.baseModel)
  }
}
