// Keeps the sessions of the graphs used last: making one takes far longer than running it. Knows keys and age.

import type { Runner } from './runner.ts'

export class Sessions {
  readonly #open = new Map<string, Promise<Runner>>()
  readonly #capacity: number

  constructor(capacity: number) {
    this.#capacity = capacity
  }

  /** The session of `key`, made if it is not there; the one used longest ago gives way. */
  async get(key: string, create: () => Promise<Runner>): Promise<Runner> {
    const known = this.#open.get(key)
    const runner = known ?? create()
    this.#open.delete(key)
    this.#open.set(key, runner)
    if (!known) {
      runner.catch(() => this.#open.delete(key))
      for (const [oldest, old] of this.#open) {
        if (this.#open.size <= this.#capacity) break
        this.#open.delete(oldest)
        await old.then((r) => r.release())
      }
    }
    return runner
  }

  async close(): Promise<void> {
    const open = [...this.#open.values()]
    this.#open.clear()
    for (const runner of open) await runner.then((r) => r.release())
  }
}
