// Who is behind an API key. Keys are known by their hash only; every key is a tenant of its own.

import { createHash, timingSafeEqual } from 'node:crypto'

export interface Tenant {
  /** Derived from the key, not secret. */
  readonly id: string
}

export class Tenants {
  readonly #hashes: readonly Buffer[]
  /** @param keys `sha256:<64 hex digits>` each. Empty: any key is welcome (a loopback server without configuration). */
  constructor(keys: readonly string[]) {
    this.#hashes = keys.map((key) => Buffer.from(key.slice('sha256:'.length), 'hex'))
  }

  authenticate(key: string): Tenant | null {
    const hash = createHash('sha256').update(key).digest()
    if (this.#hashes.length && !this.#hashes.some((known) => timingSafeEqual(known, hash))) return null
    return { id: hash.toString('hex', 0, 12) }
  }
}
