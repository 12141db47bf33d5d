// The journal of operations: what was acknowledged, what became of it. An operation is in here before its request_id
// leaves the server, and its result before anybody who waits is woken. Knows rows and bytes, not what they mean.

import { createHash, randomUUID } from 'node:crypto'
import type { Kysely, Selectable, Transaction } from 'kysely'
import { serviceError } from '../errors.ts'
import { Blobs } from './blobs.ts'
import type { Database, OperationKind, OperationTable } from './schema.ts'

export type OperationRow = Selectable<OperationTable>

export interface NewOperation {
  readonly tenant: string
  readonly session: string | null
  readonly subject: string | null
  readonly kind: OperationKind
  /** Protocol identity; null = every submission is a new one. */
  readonly identity: string | null
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

export class Journal {
  readonly #db: Kysely<Database>
  readonly #blobs: Blobs
  constructor(db: Kysely<Database>, stateDir: string) {
    this.#db = db
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
          payload_hash: hash,
          payload: stored.inline,
          payload_file: stored.file,
          state: 'queued',
          created_at: Date.now(),
        })
        .execute()
      await also?.(trx, id)
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

  async start(ids: readonly string[]): Promise<void> {
    if (!ids.length) return
    await this.#db
      .updateTable('operations')
      .set({ state: 'running', started_at: Date.now() })
      .where('id', 'in', ids)
      .execute()
  }

  /** Records how an operation ended, and whatever `also` writes, in one transaction. */
  async finish(finished: Finished, also?: (trx: Transaction<Database>) => Promise<unknown>): Promise<void> {
    const stored = finished.result ? await this.#blobs.put(finished.result.bytes) : { inline: null, file: null }
    await this.#db.transaction().execute(async (trx) => {
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
    })
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

  /** Ends what a stopped server left open, so that nobody waits for it. */
  async failOpen(error: { code: string; category: 'user' | 'server'; message: string }): Promise<void> {
    await this.#db
      .updateTable('operations')
      .set({
        state: 'failed',
        error_code: error.code,
        error_category: error.category,
        error_message: error.message,
        finished_at: Date.now(),
      })
      .where('state', 'in', ['queued', 'running'])
      .execute()
  }
}
