// Memory of the objects of processor routes: what each of them holds, in bytes as they count themselves. One tenant may hold
// so much; all together so much, above which those that nobody is using are let go of: they are made anew from their
// recipes. Knows numbers, and nothing of what is held.

import { serviceError } from '../errors.ts'

export interface MemoryBounds {
  /** Of one tenant. */
  readonly tenantBytes: number
  /** Of all together. */
  readonly bytes: number
}

export interface Holding {
  readonly tenant: string
  /** Somebody works with it: it stays. */
  isBusy: boolean
  held: number
}

export class ProcessorMemory {
  readonly #bounds: MemoryBounds
  /** Those that were used longest ago first. */
  readonly #holdings = new Set<Holding>()
  readonly #ofTenant = new Map<string, number>()
  readonly #letGo: (holding: Holding) => void
  #used = 0

  /** @param letGo Releases it. */
  constructor(bounds: MemoryBounds, letGo: (holding: Holding) => void) {
    this.#bounds = bounds
    this.#letGo = letGo
  }

  get used(): number {
    return this.#used
  }

  /** It is being used. */
  touch(holding: Holding): void {
    this.#holdings.delete(holding)
    this.#holdings.add(holding)
  }

  /** Throws PROCESSOR_MEMORY and PROCESSORS_BUSY, and holds nothing more then. */
  hold(holding: Holding, bytes: number): void {
    if (bytes > 0) this.#makeRoom(holding, bytes)
    this.#count(holding, bytes)
  }

  /** It is gone. */
  release(holding: Holding): void {
    this.#holdings.delete(holding)
    this.#count(holding, -holding.held)
  }

  #count(holding: Holding, bytes: number): void {
    const { tenant } = holding
    holding.held += bytes
    this.#used += bytes
    const own = (this.#ofTenant.get(tenant) ?? 0) + bytes
    if (own === 0) this.#ofTenant.delete(tenant)
    else this.#ofTenant.set(tenant, own)
  }

  #makeRoom({ tenant }: Holding, bytes: number): void {
    const { tenantBytes, bytes: most } = this.#bounds
    if ((this.#ofTenant.get(tenant) ?? 0) + bytes > tenantBytes)
      throw serviceError('PROCESSOR_MEMORY', { limit: tenantBytes })
    for (const other of this.#holdings) {
      if (this.#used + bytes <= most) return
      if (other.isBusy || other.held === 0) continue
      this.#letGo(other)
    }
    if (this.#used + bytes > most) throw serviceError('PROCESSORS_BUSY', { limit: most })
  }
}
