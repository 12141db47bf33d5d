// How many bytes of request bodies all requests together may hold in memory. What does not fit is told to come again (429):
// waiting inside would hold the bytes that others wait for. Knows numbers only.

import { serviceError } from '../errors.ts'

export class BodyBudget {
  readonly limit: number
  #used = 0
  constructor(limit: number) {
    this.limit = limit
  }

  get used(): number {
    return this.#used
  }

  /** Throws BUSY when `bytes` more do not fit. */
  lease(bytes = 0): Lease {
    let held = 0
    const resize = (wanted: number) => {
      if (wanted > held && this.#used + wanted - held > this.limit) throw serviceError('BUSY', { limit: this.limit })
      this.#used += wanted - held
      held = wanted
    }
    resize(bytes)
    return { resize, release: () => resize(0) }
  }
}

export interface Lease {
  /** Holds `bytes` instead of what it held; throws BUSY, and changes nothing, when more do not fit. */
  resize(bytes: number): void
  release(): void
}
