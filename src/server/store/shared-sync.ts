// One sync for all that was written before it began: whoever has committed waits for it, and those who commit while one is
// under way share the next. That is group commit without a common transaction: what fails fails alone, before it gets here.
// Knows how to count; what a sync is, and what can be done after one has failed, is told.

export interface Syncing {
  /** Puts on the disk what is written. May fail. */
  sync(): Promise<void>
  /** In its place after one has failed: a system may take what it could not write for written (Linux does). */
  repair(): Promise<void>
}

export class SharedSync {
  readonly #syncing: Syncing
  #written = 0
  #synced = 0
  #hasFailed = false
  #running: Promise<void> | null = null

  constructor(syncing: Syncing) {
    this.#syncing = syncing
  }

  /** Something was written that has to be on the disk before anybody hears of it. */
  note(): void {
    this.#written++
  }

  /** Settles when all that has been noted until now is on the disk. Throws what the sync throws: it may be there, or not. */
  async reach(): Promise<void> {
    const goal = this.#written
    while (this.#synced < goal) await this.#run()
  }

  #run(): Promise<void> {
    this.#running ??= this.#begin().finally(() => {
      this.#running = null
    })
    return this.#running
  }

  async #begin(): Promise<void> {
    const written = this.#written
    try {
      await (this.#hasFailed ? this.#syncing.repair() : this.#syncing.sync())
    } catch (cause) {
      this.#hasFailed = true
      throw cause
    }
    this.#hasFailed = false
    this.#synced = written
  }
}
