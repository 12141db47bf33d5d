// Client sessions: opened by create_session, kept by heartbeats, ended by finish or by silence. A session owns training
// runs and sampling sessions; whoever holds something for it registers with `onEnd`.

import { randomUUID } from 'node:crypto'
import type { Kysely } from 'kysely'
import { serviceError } from '../errors.ts'
import type { Database } from '../store/schema.ts'
import { transact } from '../store/transact.ts'
import { writeAudit } from './audit.ts'

export interface NewSession {
  readonly tags: readonly string[]
  readonly userMetadata: Readonly<Record<string, unknown>>
  readonly sdkVersion: string | null
  readonly projectId: string | null
  readonly displayName: string | null
}

export class Sessions {
  readonly #db: Kysely<Database>
  readonly #timeoutMs: number
  readonly #log: (cause: unknown) => void
  /** Last sign of life of the sessions that are active. */
  readonly #alive = new Map<string, number>()
  readonly #enders: ((session: string) => void)[] = []
  #timer: NodeJS.Timeout | undefined

  constructor(db: Kysely<Database>, timeoutMs: number, log: (cause: unknown) => void) {
    this.#db = db
    this.#timeoutMs = timeoutMs
    this.#log = log
  }

  /** Takes up the sessions of an earlier run of the server; their clients get a whole timeout to come back. */
  async restore(): Promise<void> {
    const rows = await this.#db.selectFrom('sessions').select('id').where('state', '=', 'active').execute()
    for (const { id } of rows) this.#alive.set(id, Date.now())
    this.#schedule()
  }

  onEnd(listener: (session: string) => void): void {
    this.#enders.push(listener)
  }

  async create(tenant: string, session: NewSession): Promise<string> {
    const id = randomUUID()
    const now = Date.now()
    await this.#db
      .insertInto('sessions')
      .values({
        id,
        tenant,
        tags: JSON.stringify(session.tags),
        user_metadata: JSON.stringify(session.userMetadata),
        sdk_version: session.sdkVersion,
        project_id: session.projectId,
        display_name: session.displayName,
        created_at: now,
        heartbeat_at: now,
        state: 'active',
      })
      .execute()
    this.#touch(id)
    return id
  }

  /** Throws UNKNOWN_SESSION for ids that are not the tenant's, SESSION_OVER for one that has ended. */
  async require(tenant: string, id: string): Promise<void> {
    const row = await this.#db
      .selectFrom('sessions')
      .select('state')
      .where('id', '=', id)
      .where('tenant', '=', tenant)
      .executeTakeFirst()
    if (!row) throw serviceError('UNKNOWN_SESSION', { id })
    if (row.state !== 'active') throw serviceError('SESSION_OVER', { id })
  }

  async heartbeat(tenant: string, id: string): Promise<void> {
    await this.require(tenant, id)
    this.#touch(id)
    await this.#db.updateTable('sessions').set({ heartbeat_at: Date.now() }).where('id', '=', id).execute()
  }

  /** The first reason wins; a second finish changes nothing. */
  async finish(tenant: string, id: string, reason: string, detail: string | null): Promise<void> {
    const row = await this.#db
      .selectFrom('sessions')
      .select('state')
      .where('id', '=', id)
      .where('tenant', '=', tenant)
      .executeTakeFirst()
    if (!row) throw serviceError('UNKNOWN_SESSION', { id })
    if (row.state === 'active') await this.#end(id, 'finished', reason, detail)
  }

  /** Puts it into a project, or into none. Throws UNKNOWN_SESSION. */
  async assignProject(tenant: string, id: string, projectId: string | null): Promise<void> {
    await transact(this.#db, async (trx) => {
      const { numUpdatedRows } = await trx
        .updateTable('sessions')
        .set({ project_id: projectId })
        .where('id', '=', id)
        .where('tenant', '=', tenant)
        .executeTakeFirst()
      if (numUpdatedRows === 0n) throw serviceError('UNKNOWN_SESSION', { id })
      await writeAudit(trx, tenant, 'project_assign_session', { actor: tenant, session_id: id, project_id: projectId })
    })
  }

  async #end(id: string, state: 'finished' | 'expired', reason: string | null, detail: string | null): Promise<void> {
    this.#alive.delete(id)
    await this.#db
      .updateTable('sessions')
      .set({ state, finish_reason: reason, finish_detail: detail })
      .where('id', '=', id)
      .where('state', '=', 'active')
      .execute()
    for (const listener of this.#enders) listener(id)
  }

  #touch(id: string): void {
    this.#alive.delete(id)
    this.#alive.set(id, Date.now())
    if (!this.#timer) this.#schedule()
  }

  /** One timer, for the session that has been silent longest: the map is ordered by sign of life. */
  #schedule(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const oldest = this.#alive.values().next().value
    if (oldest === undefined) return
    this.#timer = setTimeout(
      () => void this.#expire().catch(this.#log),
      Math.max(0, oldest + this.#timeoutMs - Date.now()),
    )
    this.#timer.unref()
  }

  async #expire(): Promise<void> {
    const limit = Date.now() - this.#timeoutMs
    for (const [id, at] of [...this.#alive]) {
      if (at > limit) break
      await this.#end(id, 'expired', null, null)
    }
    this.#schedule()
  }

  close(): void {
    clearTimeout(this.#timer)
  }
}
