// The rows behind adapters of Twinkle's protocol: which run a name of an owner stands for, and its state. What an operation
// changes of a state is written in the transaction that ends it. Knows rows and who may see them; decides nothing.

import type { Kysely, Transaction } from 'kysely'
import type { OptimResult, TrainingResult } from '../../backends/backend.ts'
import { isCatalogueLoss } from '../../catalogue/losses/catalogue.ts'
import type { Reply } from '../calls.ts'
import { serviceError } from '../errors.ts'
import type { Database } from '../store/schema.ts'
import { transact } from '../store/transact.ts'
import type { RunOperation } from './run-operation.ts'
import type { Run } from './runs.ts'
import type { Party } from './twinkle-owners.ts'
import {
  type AdapterState,
  afterClip,
  afterLoad,
  afterPass,
  afterStep,
  afterZeroGrad,
  readResumable,
} from './twinkle-state.ts'

/** What an operation gave: an outcome's result, or the answer of one that is carried out alone. */
export type Gave = TrainingResult | OptimResult | Reply

export class AdapterStates {
  readonly #db: Kysely<Database>
  constructor(db: Kysely<Database>) {
    this.#db = db
  }

  /** Part of the transaction that makes its run. An adapter of this name that there was gives the name up. */
  async insert(trx: Transaction<Database>, party: Party, name: string, run: Run, state: AdapterState): Promise<void> {
    const { tenant, owner } = party
    await trx
      .deleteFrom('twinkle_adapters')
      .where('tenant', '=', tenant)
      .where('owner', '=', owner)
      .where('name', '=', name)
      .execute()
    const row = { run: run.id, tenant, owner, name, state: JSON.stringify(state) }
    await trx.insertInto('twinkle_adapters').values(row).execute()
  }

  /** Id of the run that a name stands for. Throws UNKNOWN_ADAPTER with the names that there are. */
  async find({ tenant, owner }: Party, name: string): Promise<string> {
    const rows = await this.#db
      .selectFrom('twinkle_adapters')
      .select(['run', 'name'])
      .where('tenant', '=', tenant)
      .where('owner', '=', owner)
      .execute()
    const row = rows.find((one) => one.name === name)
    if (row) return row.run
    throw serviceError('UNKNOWN_ADAPTER', { name, names: rows.map((one) => one.name) })
  }

  async findIfAny({ tenant, owner }: Party, name: string): Promise<string | undefined> {
    const row = await this.#db
      .selectFrom('twinkle_adapters')
      .select('run')
      .where('tenant', '=', tenant)
      .where('owner', '=', owner)
      .where('name', '=', name)
      .executeTakeFirst()
    return row?.run
  }

  async read(run: string, db: Kysely<Database> = this.#db): Promise<AdapterState> {
    const row = await db.selectFrom('twinkle_adapters').select('state').where('run', '=', run).executeTakeFirst()
    if (!row) throw serviceError('MODEL_GONE', { id: run, reason: 'another adapter has its name now' })
    return JSON.parse(row.state)
  }

  /** Gives the new state. */
  async change(run: string, next: (state: AdapterState) => AdapterState): Promise<AdapterState> {
    return transact(this.#db, async (trx) => {
      const state = next(await this.read(run, trx))
      await this.#write(trx, run, state)
      return state
    })
  }

  /** What becomes of the state when an operation on its run has ended well; part of the transaction that records the end. */
  async note(trx: Transaction<Database>, operation: RunOperation, gave: Gave): Promise<void> {
    const { run } = operation
    if (run.protocol !== 'twinkle') return
    const row = await trx.selectFrom('twinkle_adapters').select('state').where('run', '=', run.id).executeTakeFirst()
    if (!row) return
    const state: AdapterState = JSON.parse(row.state)
    const next = nextState(state, operation, gave)
    if (next !== state) await this.#write(trx, run.id, next)
  }

  async #write(trx: Transaction<Database>, run: string, state: AdapterState): Promise<void> {
    await trx
      .updateTable('twinkle_adapters')
      .set({ state: JSON.stringify(state) })
      .where('run', '=', run)
      .execute()
  }
}

function nextState(state: AdapterState, { work }: RunOperation, gave: Gave): AdapterState {
  switch (work.kind) {
    case 'train': {
      const { loss, datums, backward } = work.item
      // One of Tinker's losses, by Tinker's protocol: a sum that nobody here normalises.
      const known = isCatalogueLoss(loss.name) ? { name: loss.name, config: loss.config } : state.loss
      const { loss: value, ...found } = gave as TrainingResult
      return backward ? afterPass(state, { loss: known, datums, value, ...found }) : state
    }
    case 'optim_step':
      return (gave as OptimResult).applied ? afterStep(state) : state
    case 'clip_gradients':
      return afterClip(state, Number((gave as { value: Readonly<Record<string, unknown>> }).value.grad_norm))
    case 'zero_grad':
      return afterZeroGrad(state)
    case 'load_weights':
      return afterLoad(
        state,
        work.from.optimizer ? (readResumable(work.from.checkpoint.user_metadata) ?? 'unknown') : null,
      )
    default:
      return state
  }
}
