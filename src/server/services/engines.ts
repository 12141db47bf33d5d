// How this server comes by the engines of its base models. One that has its state to itself opens them all and keeps them.

import type { BaseModels } from './base-models.ts'
import type { EngineHosts } from './engine-hosts.ts'
import { FOR_EVER } from './tenure.ts'

export interface Engines {
  /** Settles when every base model can be served. Throws what opening an engine throws. */
  start(): Promise<void>
  /** No engine is taken any more; those that are here stay until `release`. */
  stop(): void
  /** What was under way has ended, and the engines are closed. */
  release(): Promise<void>
}

export class OwnEngines implements Engines {
  readonly #models: BaseModels
  readonly #hosts: EngineHosts
  constructor(models: BaseModels, hosts: EngineHosts) {
    this.#models = models
    this.#hosts = hosts
  }

  async start(): Promise<void> {
    await this.#models.openAll()
    for (const name of this.#models.names()) await this.#hosts.begin(name, FOR_EVER)
  }

  stop(): void {}

  async release(): Promise<void> {}
}
