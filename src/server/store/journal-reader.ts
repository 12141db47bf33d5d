// What the journal says: of one operation, of what has not ended, of what made an adapter what it is. Knows rows and bytes, and
// which of both a disk has lost; writes nothing.

import { type Kysely, type Selectable, sql } from 'kysely'
import { serviceError } from '../errors.ts'
import { Blobs, type Stored, TornBlob } from './blobs.ts'
import { EFFECTS } from './effects.ts'
import type { Database, OperationTable } from './schema.ts'

export type OperationRow = Selectable<OperationTable>

export class JournalReader {
  protected readonly db: Kysely<Database>
  protected readonly blobs: Blobs
  constructor(db: Kysely<Database>, stateDir: string) {
    this.db = db
    this.blobs = new Blobs(stateDir)
  }

  /** Whoever's it is; undefined when it has ended. */
  async open(id: string): Promise<OperationRow | undefined> {
    return this.db
      .selectFrom('operations')
      .selectAll()
      .where('id', '=', id)
      .where('state', 'in', ['queued', 'running'])
      .executeTakeFirst()
  }

  async find(tenant: string, id: string): Promise<OperationRow | undefined> {
    return this.db
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

  /** Throws CALL_LOST. */
  async payloadOf(row: Pick<OperationRow, 'id' | 'payload' | 'payload_file'>): Promise<Uint8Array> {
    return this.#bytesOf({ inline: row.payload, file: row.payload_file }, 'CALL_LOST', row.id)
  }

  async #bytesOf(stored: Stored, lost: 'ANSWER_LOST' | 'CALL_LOST', id: string): Promise<Uint8Array> {
    const bytes = await this.blobs.get(stored).catch((cause) => {
      throw cause instanceof TornBlob ? serviceError(lost, { id }, { cause }) : cause
    })
    return bytes ?? new Uint8Array()
  }

  /**
   * What was acknowledged and has not ended: first what had been started, in that order, then in order of arrival. Of runs
   * and samplers of one base model, and all whose base model only their payload tells.
   */
  async unfinished(baseModel: string): Promise<OperationRow[]> {
    const rows = await this.db
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

  /**
   * Ids of what was acknowledged on a run, without a number of its own, and has not ended. Found among what is open, which is
   * little: a run may have any number of operations behind it.
   */
  async openOn(run: string): Promise<string[]> {
    const rows = await this.db
      .selectFrom('operations')
      .select('id')
      .where('state', 'in', ['queued', 'running'])
      .where(sql`coalesce(subject, '')`, '=', run)
      .where(sql`coalesce(seq, 0)`, '=', 0)
      .execute()
    return rows.map(({ id }) => id)
  }

  /** Bytes of what was acknowledged and has not ended. */
  async openCalls(): Promise<{ id: string; tenant: string; subject: string | null; seq: number; bytes: number }[]> {
    const rows = await this.db
      .selectFrom('operations')
      .select(['id', 'tenant', 'subject', 'seq', 'payload_file', sql<number | null>`length(payload)`.as('inline')])
      .where('state', 'in', ['queued', 'running'])
      .execute()
    return Promise.all(
      rows.map(async ({ id, tenant, subject, seq, inline, payload_file: file }) => ({
        ...{ id, tenant, subject, seq: Number(seq ?? 0) },
        bytes: file === null ? Number(inline ?? 0) : await this.blobs.sizeOf(file),
      })),
    )
  }

  /** The operations that changed a run's adapter after a position, in the order in which they did. */
  async effectsAfter(run: string, position: number): Promise<OperationRow[]> {
    return this.db
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
    const ended = await this.db
      .selectFrom('operations')
      .select('seq')
      .where('subject', '=', run)
      .where('seq', 'is not', null)
      .where('state', 'in', ['done', 'failed'])
      .execute()
    const refused = await this.db.selectFrom('refused_numbers').select('seq').where('run', '=', run).execute()
    return [...ended, ...refused].map(({ seq }) => Number(seq))
  }
}
