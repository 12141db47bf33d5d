// The journal of operations: what was acknowledged, what became of it. An operation is in here before its request_id
// leaves the server, and its result before anybody who waits is woken. Knows rows and bytes, not what they mean.

import { createHash } from 'node:crypto'
import type { Kysely, Selectable, Transaction } from 'kysely'
import { serviceError } from '../errors.ts'
import type { Stored } from './blobs.ts'
import { Deliveries } from './deliveries.ts'
import { JournalReader } from './journal-reader.ts'
import { nextPositions } from './positions.ts'
import { isAway } from './postgres-driver.ts'
import { newRequestId } from './request-ids.ts'
import type { Database, OperationKind, OperationTable } from './schema.ts'
import { ALONE, type Signals } from './signals.ts'
import { transact } from './transact.ts'

export type { OperationRow } from './journal-reader.ts'

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

export class Journal extends JournalReader {
  readonly #signals: Signals
  readonly #deliveries: Deliveries
  /** By identity, the operations of which nobody knows whether the database has them: their callers send them again. */
  readonly #inDoubt = new Map<string, string>()
  readonly #watchers: JournalWatcher[] = []
  constructor(db: Kysely<Database>, stateDir: string, signals: Signals = ALONE) {
    super(db, stateDir)
    this.#signals = signals
    this.#deliveries = new Deliveries(db)
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
    const stored = await this.blobs.put(operation.payload)
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
    if (stored.file) await this.blobs.remove(stored.file)
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
    const started = await transact(this.db, write, { isRepeatable: true, isLazy: true })
    for (const watcher of this.#watchers) watcher.started(started)
    return started.map(({ id }) => id)
  }

  /** Records how an operation ended, and whatever `also` writes, in one transaction. */
  async finish(
    finished: Finished,
    also?: (trx: Transaction<Database>) => Promise<unknown>,
    fence = NO_FENCE,
  ): Promise<void> {
    const stored = finished.result ? await this.blobs.put(finished.result.bytes) : { inline: null, file: null }
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
      return await transact(this.db, write, { isRepeatable: true })
    } catch (cause) {
      if (file && !mayBeThere(cause)) await this.blobs.remove(file)
      throw cause
    }
  }

  /** Its answer was fetched. */
  delivered(id: string): void {
    this.#deliveries.note(id)
  }

  async writeDelivered(): Promise<void> {
    await this.#deliveries.write()
  }

  /** A number counts as used from the moment in which its refusal is answered. */
  async refuse(run: string, seq: number, baseModel?: string): Promise<void> {
    await transact(this.db, async (trx) => {
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
    await this.#signals.send(this.db, 'cancelled', id)
  }
}

/** Whether a transaction that failed may have been written, or may be found on the disk after a crash. */
function mayBeThere(cause: unknown): boolean {
  const { code } = cause as { code?: unknown }
  return isAway(cause) || (typeof code === 'string' && code.startsWith('SQLITE_IOERR'))
}
