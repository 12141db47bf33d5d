// How many bytes of request bodies all requests together, and those of one owner, may hold in memory. What does not fit is told to come again (429):
// waiting inside would hold the bytes that others wait for. Knows numbers only.

import { serviceError } from '../errors.ts'

export class BodyBudget {
  readonly limit: number
  /** What one owner may hold of it, so that nobody alone keeps the others out. */
  readonly share: number
  readonly #heldBy = new Map<string, number>()
  #used = 0
  constructor(limit: number, share = limit) {
    this.limit = limit
    this.share = share
  }

  get used(): number {
    return this.#used
  }

  /** Throws BUSY when `bytes` more do not fit, and TENANT_BUSY when they are over the owner's share. */
  lease(owner: string, bytes = 0): Lease {
    let held = 0
    const resize = (wanted: number) => {
      const more = wanted - held
      const others = (this.#heldBy.get(owner) ?? 0) - held
      if (more > 0 && others + wanted > this.share) throw serviceError('TENANT_BUSY', { limit: this.share })
      if (more > 0 && this.#used + more > this.limit) throw serviceError('BUSY', { limit: this.limit })
      this.#used += more
      held = wanted
      if (others + wanted > 0) this.#heldBy.set(owner, others + wanted)
      else this.#heldBy.delete(owner)
    }
    resize(bytes)
    return { resize, release: () => resize(0) }
  }
}

export interface Lease {
  /** Holds `bytes` instead of what it held; throws BUSY or TENANT_BUSY, and changes nothing, when more do not fit. */
  resize(bytes: number): void
  release(): void
}
