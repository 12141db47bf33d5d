// Frozen weights in the engines, by the folder that they were read from. A folder in use is loaded once however many sample
// from it; of those not in use a few stay, as the next sample is likely to want them. Knows folders and engines.

import type { Engine, SnapshotId } from '../../backends/backend.ts'

/** Snapshots of one server that nobody uses at the moment. */
const SPARE = 8

interface Held {
  readonly engine: Engine
  readonly id: Promise<SnapshotId>
  uses: number
}

export class Snapshots {
  /** The least recently used first. */
  readonly #held = new Map<string, Held>()
  readonly #log: (cause: unknown) => void
  constructor(log: (cause: unknown) => void) {
    this.#log = log
  }

  /** Runs `work` with the weights of a folder, which stay in the engine as long as it takes. */
  async use<T>(engine: Engine, folder: string, work: (id: SnapshotId) => Promise<T>): Promise<T> {
    const held = this.#hold(engine, folder)
    held.uses++
    try {
      return await work(await held.id)
    } finally {
      held.uses--
      this.#trim()
    }
  }

  #hold(engine: Engine, folder: string): Held {
    const known = this.#held.get(folder)
    this.#held.delete(folder)
    // Another engine is a later one: what the earlier one held is gone with it.
    const held = known?.engine === engine ? known : { engine, id: engine.loadSnapshot(folder), uses: 0 }
    this.#held.set(folder, held)
    held.id.catch(() => {
      if (this.#held.get(folder) === held) this.#held.delete(folder)
    })
    return held
  }

  #trim(): void {
    const spare = [...this.#held].filter(([, { uses }]) => uses === 0)
    for (const [folder, { engine, id }] of spare.slice(0, -SPARE)) {
      this.#held.delete(folder)
      void id.then((snapshot) => engine.releaseSnapshot(snapshot)).catch(this.#log)
    }
  }
}
