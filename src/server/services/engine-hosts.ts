// The base models whose work this server carries out: begins on the journal when it gets an engine, and leaves the rest to
// the journal when it loses it. Knows who carries out what; engines are base-models.ts's, leases engine-leases.ts's.

import type { Journal } from '../store/journal.ts'
import type { BaseModels } from './base-models.ts'
import type { Draws } from './draws.ts'
import type { Futures } from './futures.ts'
import type { RunLanes } from './run-lanes.ts'
import type { Sampling } from './sampling.ts'
import type { Tenure } from './tenure.ts'

export interface EngineHostParts {
  readonly journal: Journal
  readonly futures: Futures
  readonly models: BaseModels
  readonly lanes: RunLanes
  readonly draws: Draws
  readonly sampling: Sampling
}

export class EngineHosts {
  readonly #parts: EngineHostParts
  constructor(parts: EngineHostParts) {
    this.#parts = parts
  }

  /** The engine is open. Takes up what had been acknowledged before; what comes later is handed over by whoever accepts it. */
  async begin(baseModel: string, tenure: Tenure): Promise<void> {
    const { journal, lanes, draws, sampling } = this.#parts
    lanes.begin(baseModel, tenure)
    draws.begin(baseModel, tenure)
    const unfinished = await journal.unfinished(baseModel)
    await lanes.takeUp(
      baseModel,
      tenure,
      unfinished.filter(({ kind }) => kind !== 'sample'),
    )
    await sampling.takeUp(
      baseModel,
      tenure,
      unfinished.filter(({ kind }) => kind === 'sample'),
    )
  }

  /** Ends the work of a tenure that is over. Until it has settled, this server must not get the model again. */
  async end(baseModel: string, tenure: Tenure): Promise<void> {
    const { futures, models, lanes, draws } = this.#parts
    await models.dismiss(baseModel)
    await Promise.all([lanes.end(baseModel), draws.end(baseModel)])
    futures.abandon(tenure)
  }
}
