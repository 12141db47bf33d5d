// The journal of operations: what was acknowledged, what became of it. An operation is in here before its request_id
// leaves the server, and its result before anybody who waits is woken. Knows rows and bytes, not what they mean.

import { createHash } from 'node:crypto'
import { type Kysely, type Selectable, sql, type Transaction } from 'kysely'
import { serviceError } from '../errors.ts'
import { Blobs, type Stored, TornBlob } from './blobs.ts'
import { isPostgres } from './dialect.ts'
import { EFFECTS } from './effects.ts'
import { isAway } from './postgres-driver.ts'
import { newRequestId } from './request-ids.ts'
import type { Database, OperationKind, OperationTable } from './schema.ts'
import { ALONE, type Signals } from './signals.ts'
import { transact } from './transact.ts'

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
  /** Though it has a number, its server too takes it up when its signal comes: in the order of what was acknowledged. */
  readonly isOrdered?: boolean
  readonly payload: Uint8Array
  /** What makes two payloads the same call; the payload itself when absent (it may hold a seed that the server drew). */
  readonly digest?: Uint8Array
}

export interface Finished {
  readonly id: string
  /** It was carried out, and so has a place in the order; not so what is refused before its turn. */
  readonly isStarted?: boolean
  readonly result?: { readonly type: 'json' | 'training' | 'sample'; readonly bytes: Uint8Array }
  readonly error?: { readonly code: string; readonly category: 'user' | 'server'; readonly message: string }
  readonly plan?: unknown
}

/** What is known of an operation when it starts, whichever server took it. */
export type StartedOperation = Pick<Selectable<OperationTable>, 'id' | 'kind' | 'tenant' | 'created_at'>

/** Told of what this server has written down. Must be quick and must not throw. */
export interface JournalWatcher {
  /** @param ms How long writing took. */
  appended(id: string, operation: NewOperation, ms: number): void
  /** They go to the engine together. */
  started(operations: readonly StartedOperation[]): void
  finished(finished: Finished): void
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
  /** By identity, the operations of which nobody knows whether the database has them: their callers send them again. */
  readonly #inDoubt = new Map<string, string>()
  readonly #watchers: JournalWatcher[] = []
  #writing: NodeJS.Timeout | undefined
  constructor(db: Kysely<Database>, stateDir: string, signals: Signals = ALONE) {
    this.#db = db
    this.#signals = signals
    this.#blobs = new Blobs(stateDir)
  }

  watch(watcher: JournalWatcher): void {
    this.#watchers.push(watcher)
  }

  /**
   * Records an operation and whatever `also` writes, in one transaction. A repeated identity with the same payload gives
   * the first submission's id and writes nothing; with another payload it is refused.
   */
  async append(
    operation: NewOperation,
    also?: (trx: Transaction<Database>, id: string) => Promise<unknown>,
  ): Promise<{ id: string; isNew: boolean }> {
    const now = Date.now()
    const begin = performance.now()
    const id = newRequestId(now)
    const hash = createHash('sha256')
      .update(operation.kind)
      .update(operation.digest ?? operation.payload)
      .digest('hex')
    const stored = await this.#blobs.put(operation.payload)
    const write = async (trx: Transaction<Database>) => {
      const known = await this.#find(trx, id, operation.identity)
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
          created_at: now,
        })
        .execute()
      await also?.(trx, id)
      const { baseModel, isOrdered } = operation
      const seq = isOrdered ? 0 : (operation.seq ?? 0)
      if (baseModel !== undefined) await this.#signals.send(trx, 'work', { baseModel, id, seq })
      return { id, payload_hash: hash }
    }
    const first = await this.#written(stored, write).catch((cause) => {
      if (mayBeThere(cause) && operation.identity !== null) this.#inDoubt.set(operation.identity, id)
      throw cause
    })
    const doubted = this.#inDoubt.get(operation.identity ?? '')
    this.#inDoubt.delete(operation.identity ?? '')
    if (first.id === id) {
      for (const watcher of this.#watchers) watcher.appended(id, operation, performance.now() - begin)
      return { id, isNew: true }
    }
    if (stored.file) await this.#blobs.remove(stored.file)
    if (first.payload_hash !== hash) throw serviceError('SEQ_CONFLICT', { identity: operation.identity ?? '' })
    return { id: first.id, isNew: first.id === doubted }
  }

  /** The first submission of this call; that may be this one, where an earlier attempt at writing it was not answered. */
  async #find(trx: Kysely<Database>, id: string, identity: string | null) {
    const query = trx.selectFrom('operations').select(['id', 'payload_hash'])
    return (identity === null ? query.where('id', '=', id) : query.where('identity', '=', identity)).executeTakeFirst()
  }

  /**
   * Records that these are carried out now, in this order, after everything that was started before. Gives those of them
   * that have not ended.
   */
  async start(ids: readonly string[], fence = NO_FENCE): Promise<string[]> {
    if (!ids.length) return []
    const write = async (trx: Transaction<Database>) => {
      await fence.check(trx)
      const positions = await nextPositions(trx, ids.length)
      const started: StartedOperation[] = []
      for (const [i, id] of ids.entries()) {
        const row = await trx
          .updateTable('operations')
          .set({ state: 'running', started_at: Date.now(), position: positions[i] as number })
          .where('id', '=', id)
          .where('state', 'in', ['queued', 'running'])
          .returning(['id', 'kind', 'tenant', 'created_at'])
          .executeTakeFirst()
        if (row) started.push(row)
      }
      return started
    }
    // What is forgotten in a crash of the server is started again, in one of the database `finish` makes up for it; what
    // ended is on the disk, and this before it.
    const started = await transact(this.#db, write, { isRepeatable: true, isLazy: true })
    for (const watcher of this.#watchers) watcher.started(started)
    return started.map(({ id }) => id)
  }

  /** Records how an operation ended, and whatever `also` writes, in one transaction. */
  async finish(
    finished: Finished,
    also?: (trx: Transaction<Database>) => Promise<unknown>,
    fence = NO_FENCE,
  ): Promise<void> {
    const stored = finished.result ? await this.#blobs.put(finished.result.bytes) : { inline: null, file: null }
    const write = async (trx: Transaction<Database>) => {
      await fence.check(trx)
      const row = await trx
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
        // An answer that was given stays, and so does what belongs to it.
        .where('state', 'in', ['queued', 'running'])
        .returning('position')
        .executeTakeFirst()
      if (!row) return
      if (finished.isStarted && row.position === null) await this.#place(trx, finished.id)
      await also?.(trx)
      await this.#signals.send(trx, 'ended', finished.id)
    }
    await this.#written(stored, write)
    for (const watcher of this.#watchers) watcher.finished(finished)
  }

  /**
   * A database that crashed may have forgotten the start of what this server was carrying out. Without a place no replay would
   * find it. All that its run had done before has ended, with places before this one.
   */
  async #place(trx: Transaction<Database>, id: string): Promise<void> {
    const [position] = await nextPositions(trx, 1)
    await trx
      .updateTable('operations')
      .set({ position: position as number })
      .where('id', '=', id)
      .execute()
  }

  /** A row that could not be written leaves no file: while the disk is full, attempt after attempt would fill it further. */
  async #written<T>({ file }: Stored, write: (trx: Transaction<Database>) => Promise<T>): Promise<T> {
    try {
      return await transact(this.#db, write, { isRepeatable: true })
    } catch (cause) {
      if (file && !mayBeThere(cause)) await this.#blobs.remove(file)
      throw cause
    }
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

  /** Throws ANSWER_LOST. */
  async resultOf(row: OperationRow): Promise<Uint8Array> {
    return this.#bytesOf({ inline: row.result, file: row.result_file }, 'ANSWER_LOST', row.id)
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
    for (let i = 0; i < ids.length; i += MOST_IDS) {
      const portion = ids.slice(i, i + MOST_IDS)
      await this.#db.updateTable('operations').set({ delivered_at: Date.now() }).where('id', 'in', portion).execute()
      for (const id of portion) this.#delivered.delete(id)
    }
  }

  /** Throws CALL_LOST. */
  async payloadOf(row: Pick<OperationRow, 'id' | 'payload' | 'payload_file'>): Promise<Uint8Array> {
    return this.#bytesOf({ inline: row.payload, file: row.payload_file }, 'CALL_LOST', row.id)
  }

  async #bytesOf(stored: Stored, lost: 'ANSWER_LOST' | 'CALL_LOST', id: string): Promise<Uint8Array> {
    const bytes = await this.#blobs.get(stored).catch((cause) => {
      throw cause instanceof TornBlob ? serviceError(lost, { id }, { cause }) : cause
    })
    return bytes ?? new Uint8Array()
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
      .orderBy('operations.id')
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
          and([eb('kind', 'in', EFFECTS), eb('state', '=', 'done')]),
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
    await transact(this.#db, async (trx) => {
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

/** Whether a transaction that failed may have been written, or may be found on the disk after a crash. */
function mayBeThere(cause: unknown): boolean {
  const { code } = cause as { code?: unknown }
  return isAway(cause) || (typeof code === 'string' && code.startsWith('SQLITE_IOERR'))
}

/** Ascending, and beyond all that were handed out before: also to other servers on the same database. */
async function nextPositions(trx: Transaction<Database>, count: number): Promise<number[]> {
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
