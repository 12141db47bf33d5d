// Training runs: rows about adapters, their owners and their state. Knows the table; lanes do the work.

import type { Kysely, Selectable, Transaction } from 'kysely'
import type { LoraConfig } from '../../backends/backend.ts'
import { serviceError } from '../errors.ts'
import type { Database, RunTable } from '../store/schema.ts'

export type Run = Selectable<RunTable>

export function loraConfig(run: Run): LoraConfig {
  return {
    rank: run.rank,
    alpha: run.alpha,
    seed: run.seed,
    trainAttention: run.train_attention === 1,
    trainMlp: run.train_mlp === 1,
    trainUnembed: run.train_unembed === 1,
  }
}

const GONE: Readonly<Record<Run['state'], string | null>> = {
  creating: null,
  ready: null,
  failed: 'it could not be created',
  unloaded: 'it was unloaded or its session is over',
}

function checkTakes({ id, state }: Run): void {
  const reason = GONE[state]
  if (reason !== null) throw serviceError('MODEL_GONE', { id, reason })
}

export class Runs {
  readonly #db: Kysely<Database>
  constructor(db: Kysely<Database>) {
    this.#db = db
  }

  /** Throws SEQ_CONFLICT where a copy or an imported adapter has the number already. */
  async insert(trx: Transaction<Database>, run: Run): Promise<void> {
    const taken = await trx.selectFrom('runs').select('id').where('id', '=', run.id).executeTakeFirst()
    if (taken) throw serviceError('SEQ_CONFLICT', { identity: `model:${run.id}` })
    await trx.insertInto('runs').values(run).execute()
  }

  /** The tenant's run, whatever its state. Throws UNKNOWN_MODEL_ID. */
  async find(tenant: string, id: string): Promise<Run> {
    return this.#find(this.#db, tenant, id)
  }

  async #find(db: Kysely<Database>, tenant: string, id: string): Promise<Run> {
    const run = await db
      .selectFrom('runs')
      .selectAll()
      .where('id', '=', id)
      .where('tenant', '=', tenant)
      .executeTakeFirst()
    if (!run) throw serviceError('UNKNOWN_MODEL_ID', { id })
    return run
  }

  async isOf(tenant: string, id: string): Promise<boolean> {
    const query = this.#db.selectFrom('runs').select('id').where('id', '=', id).where('tenant', '=', tenant)
    return (await query.executeTakeFirst()) !== undefined
  }

  /** By anybody's run. */
  async isTaken(id: string): Promise<boolean> {
    return (await this.#db.selectFrom('runs').select('id').where('id', '=', id).executeTakeFirst()) !== undefined
  }

  /** A run that takes operations. Throws MODEL_GONE with the reason when it does not. */
  async require(tenant: string, id: string): Promise<Run> {
    const run = await this.find(tenant, id)
    checkTakes(run)
    return run
  }

  /**
   * Its adapter can be brought back from `folder`, which holds what all operations up to this one have made. One that has not
   * ended would be carried out again, on top of what it made: then this throws.
   */
  async setRestartPoint(
    id: string,
    folder: string,
    operation: string,
    trx: Kysely<Database> = this.#db,
  ): Promise<void> {
    const { position } = await trx
      .selectFrom('operations')
      .select('position')
      .where('id', '=', operation)
      .where('finished_at', 'is not', null)
      .where('position', 'is not', null)
      .executeTakeFirstOrThrow(() => new Error(`operation ${operation} has not ended: no restart point can name it`))
    await trx
      .updateTable('runs')
      .set({ restart_folder: folder, restart_position: Number(position) })
      .where('id', '=', id)
      .execute()
  }

  async restartFolder(id: string): Promise<string | null> {
    const row = await this.#db.selectFrom('runs').select('restart_folder').where('id', '=', id).executeTakeFirst()
    return row?.restart_folder ?? null
  }

  /** Every tenant's on a base model, of the states in which an adapter is due. */
  async live(baseModel: string): Promise<Run[]> {
    return this.#db
      .selectFrom('runs')
      .selectAll()
      .where('base_model', '=', baseModel)
      .where('state', 'in', ['creating', 'ready'])
      .execute()
  }

  async setState(id: string, state: Run['state'], trx: Kysely<Database> = this.#db): Promise<void> {
    await trx.updateTable('runs').set({ state }).where('id', '=', id).execute()
  }

  /** A run whose engine died while it was being created stays lost. */
  async setReady(id: string, trx: Transaction<Database>): Promise<void> {
    await trx.updateTable('runs').set({ state: 'ready' }).where('id', '=', id).where('state', '=', 'creating').execute()
  }

  /** Inside a submission's transaction: throws MODEL_GONE when the run has ended since the submission was looked at. */
  async take(trx: Transaction<Database>, { tenant, id }: Run): Promise<void> {
    await this.touch(trx, id)
    checkTakes(await this.#find(trx, tenant, id))
  }

  async touch(trx: Transaction<Database>, id: string): Promise<void> {
    await trx.updateTable('runs').set({ last_request_at: Date.now() }).where('id', '=', id).execute()
  }

  async ofSession(session: string): Promise<Run[]> {
    return this.#db.selectFrom('runs').selectAll().where('session', '=', session).execute()
  }
}
