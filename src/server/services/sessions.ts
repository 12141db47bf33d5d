// Client sessions: opened by create_session, kept by heartbeats, ended by finish or by silence. A session owns training
// runs and sampling sessions; whoever holds something for it registers with `onEnd`. Signs of life are in the database, so
// it does not matter which of several servers gets them.

import { randomUUID } from 'node:crypto'
import type { Kysely } from 'kysely'
import { serviceError } from '../errors.ts'
import type { Database } from '../store/schema.ts'
import type { Signals } from '../store/signals.ts'
import { transact } from '../store/transact.ts'
import { Alarm } from './alarm.ts'
import { writeAudit } from './audit.ts'

export interface NewSession {
  readonly tags: readonly string[]
  readonly userMetadata: Readonly<Record<string, unknown>>
  readonly sdkVersion: string | null
  readonly projectId: string | null
  readonly displayName: string | null
  /** Id of the key that opens it. */
  readonly apiKey?: string
}

/** After a look for silent sessions that failed. */
const RETRY_MS = 10_000

export class Sessions {
  readonly #db: Kysely<Database>
  readonly #signals: Signals
  readonly #timeoutMs: number
  readonly #log: (cause: unknown) => void
  readonly #enders: ((session: string) => void)[] = []
  readonly #alarm = new Alarm(() => this.#look())
  #looking: Promise<number> = Promise.resolve(0)

  /** Sessions of an earlier run of the server get a whole timeout to come back. */
  constructor(db: Kysely<Database>, signals: Signals, timeoutMs: number, log: (cause: unknown) => void) {
    this.#db = db
    this.#signals = signals
    this.#timeoutMs = timeoutMs
    this.#log = log
    signals.on('session', (id) => this.#tell(id))
    this.#alarm.at(Date.now() + timeoutMs)
  }

  /** Without a heartbeat for so long it is over. */
  get timeoutSeconds(): number {
    return this.#timeoutMs / 1000
  }

  /** Called when a session is over, whichever server ended it. */
  onEnd(listener: (session: string) => void): void {
    this.#enders.push(listener)
  }

  async create(tenant: string, session: NewSession, id: string = randomUUID()): Promise<string> {
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
        api_key: session.apiKey ?? null,
      })
      .execute()
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
    if (row.state === 'active') await this.#end(id, { state: 'finished', finish_reason: reason, finish_detail: detail })
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

  /** Ends it unless somebody else has, or it gave a sign of life after `heardBefore`. */
  async #end(id: string, end: End, heardBefore = Number.MAX_SAFE_INTEGER): Promise<void> {
    const isEnded = await transact(this.#db, async (trx) => {
      const { numUpdatedRows } = await trx
        .updateTable('sessions')
        .set(end)
        .where('id', '=', id)
        .where('state', '=', 'active')
        .where('heartbeat_at', '<=', heardBefore)
        .executeTakeFirst()
      if (numUpdatedRows > 0n) await this.#signals.send(trx, 'session', id)
      return numUpdatedRows > 0n
    })
    // Where others may have acknowledged work of this session, the end comes behind it.
    if (isEnded && !this.#signals.isShared) this.#tell(id)
  }

  #tell(id: string): void {
    for (const listener of this.#enders) listener(id)
  }

  #look(): Promise<number> {
    this.#looking = this.#expire().catch((cause) => {
      this.#log(cause)
      return Date.now() + RETRY_MS
    })
    return this.#looking
  }

  /** Gives the time of the next look: what is opened from now on is not due before a whole timeout has passed. */
  async #expire(): Promise<number> {
    const limit = Date.now() - this.#timeoutMs
    const active = this.#db.selectFrom('sessions').where('state', '=', 'active')
    for (const { id } of await active.select('id').where('heartbeat_at', '<=', limit).execute()) {
      await this.#end(id, { state: 'expired', finish_reason: null, finish_detail: null }, limit)
    }
    const next = await active.select(({ fn }) => fn.min('heartbeat_at').as('oldest')).executeTakeFirst()
    return Number(next?.oldest ?? Date.now()) + this.#timeoutMs
  }

  async close(): Promise<void> {
    this.#alarm.close()
    await this.#looking
  }
}

interface End {
  readonly state: 'finished' | 'expired'
  readonly finish_reason: string | null
  readonly finish_detail: string | null
}
