// How checkpoints end: deleted by their owner, or when their time is over. The row goes first, then the files, so that
// nothing that is listed lacks its files. One timer stands on the next expiry.

import type { Kysely } from 'kysely'
import type { Database } from '../store/schema.ts'
import { transact } from '../store/transact.ts'
import { Alarm } from './alarm.ts'
import { type AuditEvent, writeAudit } from './audit.ts'
import { type Checkpoint, type Checkpoints, checkTtl, TTL_SECONDS, tinkerPath } from './checkpoints.ts'
import { writeStorageOf } from './storage-meter.ts'

export class Retention {
  readonly #db: Kysely<Database>
  readonly #checkpoints: Checkpoints
  readonly #isShared: boolean
  readonly #log: (cause: unknown) => void
  readonly #alarm = new Alarm(() => this.#expire())
  #expiring: Promise<number | null> = Promise.resolve(null)

  /** `isShared`: other servers on the same database set times too, and may be gone when they are over. */
  constructor(db: Kysely<Database>, checkpoints: Checkpoints, log: (cause: unknown) => void, isShared = false) {
    this.#isShared = isShared
    this.#db = db
    this.#checkpoints = checkpoints
    this.#log = log
    checkpoints.onExpiring((at) => this.#alarm.at(at))
  }

  /** Removes what expired while the server was away, and waits for the next. */
  async start(): Promise<void> {
    const next = await this.#expire()
    if (next !== null) this.#alarm.at(next)
  }

  /** From now on; null keeps it for ever. Throws INVALID_TTL and CHECKPOINT_NOT_FOUND. */
  async setTtl(tenant: string, path: string, ttlSeconds: number | null): Promise<void> {
    checkTtl(ttlSeconds)
    const { id } = await this.#checkpoints.own(tenant, path)
    const expiresAt = ttlSeconds === null ? null : Date.now() + ttlSeconds * 1000
    await transact(this.#db, async (trx) => {
      await trx.updateTable('checkpoints').set({ expires_at: expiresAt }).where('id', '=', id).execute()
      await writeAudit(trx, tenant, 'checkpoint_set_ttl', { actor: tenant, tinker_path: path, ttl_seconds: ttlSeconds })
    })
    if (expiresAt !== null) this.#alarm.at(expiresAt)
  }

  /** Throws CHECKPOINT_NOT_FOUND. */
  async remove(tenant: string, path: string): Promise<void> {
    await this.#remove(await this.#checkpoints.own(tenant, path), 'checkpoint_delete', tenant)
  }

  async #remove(checkpoint: Checkpoint, event: AuditEvent, actor: string): Promise<void> {
    await transact(this.#db, async (trx) => {
      await writeStorageOf(trx, checkpoint.id)
      const { numDeletedRows } = await trx.deleteFrom('checkpoints').where('id', '=', checkpoint.id).executeTakeFirst()
      // Of two servers that find it over, one removes it.
      if (numDeletedRows > 0n)
        await writeAudit(trx, checkpoint.tenant, event, { actor, tinker_path: tinkerPath(checkpoint) })
    })
    await this.#checkpoints.removeUnused(checkpoint.folder)
  }

  /** Gives the time of the next expiry. */
  #expire(): Promise<number | null> {
    this.#expiring = this.#removeExpired().catch((cause) => {
      this.#log(cause)
      return Date.now() + RETRY_MS
    })
    return this.#expiring
  }

  async #removeExpired(): Promise<number | null> {
    const over = await this.#db.selectFrom('checkpoints').selectAll().where('expires_at', '<=', Date.now()).execute()
    for (const checkpoint of over) await this.#remove(checkpoint, 'checkpoint_expire', 'server')
    const next = await this.#db
      .selectFrom('checkpoints')
      .select(({ fn }) => fn.min('expires_at').as('at'))
      .executeTakeFirst()
    if (!this.#isShared) return next?.at ?? null
    return Math.min(Number(next?.at ?? Number.POSITIVE_INFINITY), Date.now() + SHORTEST_LIFE_MS)
  }

  /** Settles when what was being removed is. */
  async settled(): Promise<void> {
    await this.#expiring
  }

  async close(): Promise<void> {
    this.#alarm.close()
    await this.settled()
  }
}

/** What another server sets from now on is not due before that. */
const SHORTEST_LIFE_MS = TTL_SECONDS.min * 1000
/** After a removal that failed: a full disk or a lost mount is not mended within a second. */
const RETRY_MS = 60_000
