// When the state directory is tidied and the storage meter read: files without rows before the server takes requests,
// everything else every few minutes. What may go is the compaction's knowledge.

import type { Compaction } from '../store/compaction.ts'
import { Alarm } from './alarm.ts'

export class Housekeeping {
  readonly #compaction: Compaction
  readonly #everyMs: number
  readonly #readMeter: () => Promise<void>
  readonly #log: (cause: unknown) => void
  readonly #alarm = new Alarm(() => this.#tidy())
  #tidying: Promise<number | null> = Promise.resolve(null)

  constructor(compaction: Compaction, everyMs: number, readMeter: () => Promise<void>, log: (cause: unknown) => void) {
    this.#compaction = compaction
    this.#everyMs = everyMs
    this.#readMeter = readMeter
    this.#log = log
  }

  /** Before anything is submitted or taken up. */
  async start(): Promise<void> {
    await this.#compaction.removeOrphans()
    await this.#readMeter()
    this.#alarm.at(Date.now() + this.#everyMs)
  }

  #tidy(): Promise<number | null> {
    this.#tidying = Promise.all([this.#compaction.run(), this.#readMeter()])
      .catch(this.#log)
      .then(() => Date.now() + this.#everyMs)
    return this.#tidying
  }

  async close(): Promise<void> {
    this.#alarm.close()
    await this.#tidying
  }
}
