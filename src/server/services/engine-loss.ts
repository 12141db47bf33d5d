// What the death of an engine means for what it was working on: that is done again by the engine's successor. Whatever was
// under way is suspect, for it may be what killed the engine; suspects go one at a time, and one that loses engine after
// engine is given up. Plain rules: opening engines is base-models.ts's, doing work again its owner's.

import { type Engine, EngineError } from '../../backends/backend.ts'
import { serviceError } from '../errors.ts'
import type { BaseModels } from './base-models.ts'
import { TenureOver } from './tenure.ts'

/** Engines that one operation may lose before it is taken for the cause. */
const MAX_LOSSES = 3

/**
 * The engine is gone, and what it had not answered can be done by its successor. No other code says so: an engine that
 * lives on may refuse a single call for breaking the protocol, and would have no successor.
 */
export function isEngineLoss(cause: unknown): boolean {
  return cause instanceof EngineError && cause.code === 'ENGINE_LOST'
}

/**
 * The server closes, or lets go of the model: what was not done stays in the journal, for its next start or for the server
 * that has the model now. Nobody is told anything.
 */
export function staysInJournal(cause: unknown): boolean {
  return cause instanceof TenureOver || (cause instanceof EngineError && cause.code === 'ENGINE_CLOSED')
}

export class Survival {
  readonly #models: BaseModels
  /** The turn of the next suspect of a base model. */
  readonly #turns = new Map<string, Promise<unknown>>()
  constructor(models: BaseModels) {
    this.#models = models
  }

  /**
   * Gives the engine of a base model to `work`, and after a loss its successor, in turn with other suspects. Work that has
   * lost an engine already says which one. Throws what the work throws, or POISONOUS when it is given up.
   */
  async carry<T>(baseModel: string, work: (engine: Engine) => Promise<T>, lost?: Engine): Promise<T> {
    const first = lost ? { dead: lost } : await this.#attempt(baseModel, work)
    if ('value' in first) return first.value
    return this.#inTurn(baseModel, async () => {
      let { dead } = first
      for (let losses = 1; losses < MAX_LOSSES; losses++) {
        const next = await this.#attempt(baseModel, work, dead)
        if ('value' in next) return next.value
        dead = next.dead
      }
      throw serviceError('POISONOUS', { losses: MAX_LOSSES, name: baseModel })
    })
  }

  async #attempt<T>(
    baseModel: string,
    work: (engine: Engine) => Promise<T>,
    dead?: Engine,
  ): Promise<{ value: T } | { dead: Engine }> {
    const engine = await this.#models.ready(baseModel, dead)
    try {
      return { value: await work(engine) }
    } catch (cause) {
      if (!isEngineLoss(cause)) throw cause
      return { dead: engine }
    }
  }

  #inTurn<T>(baseModel: string, work: () => Promise<T>): Promise<T> {
    const turn = (this.#turns.get(baseModel) ?? Promise.resolve()).then(work)
    this.#turns.set(
      baseModel,
      turn.catch(() => {}),
    )
    return turn
  }
}
