// Restart points: a run's weights and optimiser state on disk, from which its adapter is brought back, and the rule for when
// a new one is due. Writing may cost a tenth of the time that went into the run since the last one, so bringing a run back
// takes at most about ten times as long as writing it. Knows folders and rows; live-adapters.ts reads them.

import { rm } from 'node:fs/promises'
import type { Transaction } from 'kysely'
import type { Engine } from '../../backends/backend.ts'
import type { Database } from '../store/schema.ts'
import type { Checkpoints } from './checkpoints.ts'
import type { Runs } from './runs.ts'

/** Time of work that pays for writing a restart point, in multiples of what the last one took. */
const WORK_PER_POINT = 10
/** So many steps are never left to the journal alone, however cheap they were. */
const MOST_STEPS = 100

export interface RestartPoint {
  /** Part of the transaction that ends the operation, or after it. */
  record(trx: Transaction<Database>): Promise<void>
  /** Once it is recorded. */
  removeOlder(): Promise<void>
}

/** Runs a write in a transaction of whoever may write. */
export type Transact = (write: (trx: Transaction<Database>) => Promise<void>) => Promise<void>

interface Account {
  /** Milliseconds that the last point took, and that were spent on the run since. */
  cost: number
  spent: number
  steps: number
}

export class RestartPoints {
  readonly #runs: Runs
  readonly #checkpoints: Checkpoints
  readonly #accounts = new Map<string, Account>()
  constructor(runs: Runs, checkpoints: Checkpoints) {
    this.#runs = runs
    this.#checkpoints = checkpoints
  }

  spend(run: string, ms: number): void {
    this.#account(run).spent += ms
  }

  /** Asked after an optimiser step: then there is no gradient, which a restart point could not hold. */
  isDue(run: string): boolean {
    const account = this.#account(run)
    account.steps += 1
    return account.spent >= WORK_PER_POINT * account.cost || account.steps >= MOST_STEPS
  }

  /** Writes one as of the end of `operation`, records it in a transaction of the caller's and removes the one before. */
  async take(engine: Engine, run: string, operation: string, transact: Transact): Promise<void> {
    const point = await this.write(engine, run, operation)
    await transact((trx) => point.record(trx))
    await point.removeOlder()
  }

  /** The run must have no gradient. */
  async write(engine: Engine, run: string, operation: string): Promise<RestartPoint> {
    const start = performance.now()
    const older = await this.#runs.restartFolder(run)
    const folder = this.#checkpoints.newFolder(run, 'restart')
    await engine.saveAdapter(run, folder.absolute, 'weights+optimizer')
    this.#accounts.set(run, { cost: performance.now() - start, spent: 0, steps: 0 })
    return {
      record: (trx) => this.#runs.setRestartPoint(run, folder.relative, operation, trx),
      removeOlder: async () => {
        if (older !== null) await rm(this.#checkpoints.absolute(older), { recursive: true, force: true })
      },
    }
  }

  /** The run is over. */
  async forget(run: string): Promise<void> {
    this.#accounts.delete(run)
    const folder = await this.#runs.restartFolder(run)
    if (folder !== null) await rm(this.#checkpoints.absolute(folder), { recursive: true, force: true })
  }

  #account(run: string): Account {
    let account = this.#accounts.get(run)
    if (!account) {
      account = { cost: 0, spent: 0, steps: 0 }
      this.#accounts.set(run, account)
    }
    return account
  }
}
