// The journal of operations: what was acknowledged, what became of it. An operation is in here before its request_id
// leaves the server, and its result before anybody who waits is woken. Knows rows and bytes, not what they mean.

import { createHash, randomUUID } from 'node:crypto'
import { type Kysely, type Selectable, sql, type Transaction } from 'kysely'
import { serviceError } from '../errors.ts'
import { Blobs } from './blobs.ts'
import type { Database, OperationKind, OperationTable } from './schema.ts'
import { ALONE, type Signals } from './signals.ts'

export type OperationRow = Selectable<OperationTable>

export interface NewOperation {
  readonly tenant: string
  readonly session: string | null
  readonly subject: string | null
  readonly kind: OperationKind
  /** Protocol identity; null = every submission is a new one. */
  readonly identity: string | null
  /** Its number among those of its subject. */
  readonly seq?: number
  /** Whoever has the engine of this base model hears of it. */
  readonly baseModel?: string
  readonly payload: Uint8Array
  /** What makes two payloads the same call; the payload itself when absent (it may hold a seed that the server drew). */
  readonly digest?: Uint8Array
}

export interface Finished {
  readonly id: string
  readonly result?: { readonly type: 'json' | 'training' | 'sample'; readonly bytes: Uint8Array }
  readonly error?: { readonly code: string; readonly category: 'user' | 'server'; readonly message: string }
  readonly plan?: unknown
}

/** Whether the writer may still write about the work of a model: throws in the transaction when it may not. */
export interface Fence {
  check(trx: Transaction<Database>): Promise<void>
}
const NO_FENCE: Fence = { check: async () => {} }

/** How long deliveries are gathered before they are written, and how many go into one statement. */
const DELIVERED_MS = 1000
const MOST_IDS = 500

export class Journal {
  readonly #db: Kysely<Database>
  readonly #blobs: Blobs
  readonly #signals: Signals
  readonly #delivered = new Set<string>()
  #writing: NodeJS.Timeout | undefined
  constructor(db: Kysely<Database>, stateDir: string, signals: Signals = ALONE) {
    this.#db = db
    this.#signals = signals
    this.#blobs = new Blobs(stateDir)
  }

  /**
   * Records an operation and whatever `also` writes, in one transaction. A repeated identity with the same payload gives
   * the first submission's id and writes nothing; with another payload it is refused.
   */
  async append(
    operation: NewOperation,
    also?: (trx: Transaction<Database>, id: string) => Promise<unknown>,
  ): Promise<{ id: string; isNew: boolean }> {
    const id = `req-${randomUUID()}`
    const hash = createHash('sha256')
      .update(operation.kind)
      .update(operation.digest ?? operation.payload)
      .digest('hex')
    const stored = await this.#blobs.put(operation.payload)
    const known = await this.#db.transaction().execute(async (trx) => {
      const known = await this.#find(trx, operation.identity)
      if (known) return known
      await trx
        .insertInto('operations')
        .values({
          id,
          tenant: operation.tenant,
          session: operation.session,
          subject: operation.subject,
          kind: operation.kind,
          identity: operation.identity,
          seq: operation.seq ?? null,
          payload_hash: hash,
          payload: stored.inline,
          payload_file: stored.file,
          state: 'queued',
          created_at: Date.now(),
        })
        .execute()
      await also?.(trx, id)
      const { baseModel, seq = 0 } = operation
      if (baseModel !== undefined) await this.#signals.send(trx, 'work', { baseModel, id, seq })
      return null
    })
    if (!known) return { id, isNew: true }
    if (stored.file) await this.#blobs.remove(stored.file)
    if (known.payload_hash !== hash) throw serviceError('SEQ_CONFLICT', { identity: operation.identity ?? '' })
    return { id: known.id, isNew: false }
  }

  async #find(trx: Kysely<Database>, identity: string | null) {
    if (identity === null) return undefined
    return trx
      .selectFrom('operations')
      .select(['id', 'payload_hash'])
      .where('identity', '=', identity)
      .executeTakeFirst()
  }

  /**
   * Records that these are carried out now, in this order, after everything that was started before. Gives those of them
   * that have not ended.
   */
  async start(ids: readonly string[], fence = NO_FENCE): Promise<string[]> {
    const started: string[] = []
    if (!ids.length) return started
    await this.#db.transaction().execute(async (trx) => {
      await fence.check(trx)
      for (const id of ids) {
        const { numUpdatedRows } = await trx
          .updateTable('operations')
          .set({ state: 'running', started_at: Date.now(), position: NEXT_POSITION })
          .where('id', '=', id)
          .where('state', 'in', ['queued', 'running'])
          .executeTakeFirst()
        if (numUpdatedRows > 0n) started.push(id)
      }
    })
    return started
  }

  /** Records how an operation ended, and whatever `also` writes, in one transaction. */
  async finish(
    finished: Finished,
    also?: (trx: Transaction<Database>) => Promise<unknown>,
    fence = NO_FENCE,
  ): Promise<void> {
    const stored = finished.result ? await this.#blobs.put(finished.result.bytes) : { inline: null, file: null }
    await this.#db.transaction().execute(async (trx) => {
      await fence.check(trx)
      await trx
        .updateTable('operations')
        .set({
          state: finished.error ? 'failed' : 'done',
          plan: finished.plan === undefined ? null : JSON.stringify(finished.plan),
          result_type: finished.result?.type ?? null,
          result: stored.inline,
          result_file: stored.file,
          error_code: finished.error?.code ?? null,
          error_category: finished.error?.category ?? null,
          error_message: finished.error?.message ?? null,
          finished_at: Date.now(),
        })
        .where('id', '=', finished.id)
        // An answer that was given stays.
        .where('state', 'in', ['queued', 'running'])
        .execute()
      await also?.(trx)
      await this.#signals.send(trx, 'ended', finished.id)
    })
  }

  /** Whoever's it is; undefined when it has ended. */
  async open(id: string): Promise<OperationRow | undefined> {
    return this.#db
      .selectFrom('operations')
      .selectAll()
      .where('id', '=', id)
      .where('state', 'in', ['queued', 'running'])
      .executeTakeFirst()
  }

  async find(tenant: string, id: string): Promise<OperationRow | undefined> {
    return this.#db
      .selectFrom('operations')
      .selectAll()
      .where('id', '=', id)
      .where('tenant', '=', tenant)
      .executeTakeFirst()
  }

  async resultOf(row: OperationRow): Promise<Uint8Array> {
    return (await this.#blobs.get({ inline: row.result, file: row.result_file })) ?? new Uint8Array()
  }

  /**
   * Its answer was fetched: from now on the shorter time counts for which it is kept. Written a little later, for many at
   * once: what a crash forgets is kept longer.
   */
  delivered(id: string): void {
    this.#delivered.add(id)
    this.#writing ??= setTimeout(() => void this.writeDelivered().catch(() => {}), DELIVERED_MS).unref()
  }

  async writeDelivered(): Promise<void> {
    clearTimeout(this.#writing)
    this.#writing = undefined
    const ids = [...this.#delivered]
    this.#delivered.clear()
    for (let i = 0; i < ids.length; i += MOST_IDS) {
      await this.#db
        .updateTable('operations')
        .set({ delivered_at: Date.now() })
        .where('id', 'in', ids.slice(i, i + MOST_IDS))
        .execute()
    }
  }

  async payloadOf(row: Pick<OperationRow, 'payload' | 'payload_file'>): Promise<Uint8Array> {
    return (await this.#blobs.get({ inline: row.payload, file: row.payload_file })) ?? new Uint8Array()
  }

  /**
   * What was acknowledged and has not ended: first what had been started, in that order, then in order of arrival. Of runs
   * and samplers of one base model, and all whose base model only their payload tells.
   */
  async unfinished(baseModel: string): Promise<OperationRow[]> {
    const rows = await this.#db
      .selectFrom('operations')
      .leftJoin('runs', 'runs.id', 'operations.subject')
      .leftJoin('sampling_sessions', 'sampling_sessions.id', 'operations.subject')
      .selectAll('operations')
      .where('operations.state', 'in', ['queued', 'running'])
      .where(({ or, and, eb }) =>
        or([
          eb('runs.base_model', '=', baseModel),
          eb('sampling_sessions.base_model', '=', baseModel),
          and([eb('runs.id', 'is', null), eb('sampling_sessions.id', 'is', null)]),
        ]),
      )
      .orderBy('operations.created_at')
      .orderBy('operations.seq')
      .execute()
    const place = (row: OperationRow) => row.position ?? Number.POSITIVE_INFINITY
    return rows.sort((a, b) => (place(a) === place(b) ? 0 : place(a) - place(b)))
  }

  /** Bytes of what was acknowledged and has not ended. */
  async openCalls(): Promise<{ id: string; tenant: string; subject: string | null; seq: number; bytes: number }[]> {
    const rows = await this.#db
      .selectFrom('operations')
      .select(['id', 'tenant', 'subject', 'seq', 'payload_file', sql<number | null>`length(payload)`.as('inline')])
      .where('state', 'in', ['queued', 'running'])
      .execute()
    return Promise.all(
      rows.map(async ({ id, tenant, subject, seq, inline, payload_file: file }) => ({
        ...{ id, tenant, subject, seq: Number(seq ?? 0) },
        bytes: file === null ? Number(inline ?? 0) : await this.#blobs.sizeOf(file),
      })),
    )
  }

  /** The operations that changed a run's adapter after a position, in the order in which they did. */
  async effectsAfter(run: string, position: number): Promise<OperationRow[]> {
    return this.#db
      .selectFrom('operations')
      .selectAll()
      .where('subject', '=', run)
      .where('position', '>', position)
      .where(({ or, and, eb }) =>
        or([
          and([eb('kind', 'in', ['forward_backward', 'optim_step', 'load_weights']), eb('state', '=', 'done')]),
          // A step that was refused for its numbers has used up the gradient.
          and([eb('kind', '=', 'optim_step'), eb('state', '=', 'failed'), eb('error_category', '=', 'user')]),
        ]),
      )
      .orderBy('position')
      .execute()
  }

  /** Numbers of a run's requests that are over, one way or the other. */
  async usedNumbers(run: string): Promise<number[]> {
    const ended = await this.#db
      .selectFrom('operations')
      .select('seq')
      .where('subject', '=', run)
      .where('seq', 'is not', null)
      .where('state', 'in', ['done', 'failed'])
      .execute()
    const refused = await this.#db.selectFrom('refused_numbers').select('seq').where('run', '=', run).execute()
    return [...ended, ...refused].map(({ seq }) => Number(seq))
  }

  /** A number counts as used from the moment in which its refusal is answered. */
  async refuse(run: string, seq: number, baseModel?: string): Promise<void> {
    await this.#db.transaction().execute(async (trx) => {
      await trx
        .insertInto('refused_numbers')
        .values({ run, seq })
        .onConflict((conflict) => conflict.doNothing())
        .execute()
      if (baseModel !== undefined) await this.#signals.send(trx, 'refused', { baseModel, run, seq })
    })
  }

  /** Nobody wants this sample any more. */
  async cancel(id: string): Promise<void> {
    await this.#signals.send(this.#db, 'cancelled', id)
  }
}

const NEXT_POSITION = sql<number>`(select coalesce(max(position), 0) + 1 from operations)`
