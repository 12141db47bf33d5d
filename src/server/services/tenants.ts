// Who is behind an API key. Keys are known by their hash only; every key is a tenant of its own.

import { createHash, timingSafeEqual } from 'node:crypto'
import type { Tokens } from './tokens.ts'

export interface Tenant {
  /** Derived from the key, not secret. */
  readonly id: string
}

export class Tenants {
  readonly #hashes: readonly Buffer[]
  readonly #tokens: Tokens
  /** @param keys `sha256:<64 hex digits>` each. Empty: any key is welcome (a loopback server without configuration). */
  constructor(keys: readonly string[], tokens: Tokens) {
    this.#tokens = tokens
    this.#hashes = keys.map((key) => Buffer.from(key.slice('sha256:'.length), 'hex'))
  }

  /** By a key, or by a token that was given for one that is still known. Throws TOKEN_OVER. */
  authenticate(key: string): Tenant | null {
    const id = key.startsWith('eyJ') ? this.#tokens.tenantOf(key) : null
    if (id !== null) return this.#hashes.length && !this.#hashes.some((hash) => idOf(hash) === id) ? null : { id }
    const hash = createHash('sha256').update(key).digest()
    if (this.#hashes.length && !this.#hashes.some((known) => timingSafeEqual(known, hash))) return null
    return { id: idOf(hash) }
  }
}

function idOf(hash: Buffer): string {
  return hash.toString('hex', 0, 12)
}
