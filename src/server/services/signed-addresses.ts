// Addresses that need no key: what they are good for is signed together with their end. The secret lies in the state
// directory, so addresses outlive a restart.

import { createHmac, randomBytes, randomUUID, timingSafeEqual } from 'node:crypto'
import { existsSync, linkSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { serviceError } from '../errors.ts'

/** The tinker client asks for new addresses five minutes before the end. */
const LIFE_MS = 3_600_000

export interface SignedAddress {
  /** Below the server's origin. */
  readonly path: string
  /** Milliseconds since 1970. */
  readonly expires: number
}

export class SignedAddresses {
  readonly #secret: Uint8Array
  constructor(secret: Uint8Array) {
    this.#secret = secret
  }

  /** @param segments Of the path, not encoded yet. */
  sign(...segments: readonly string[]): SignedAddress {
    const expires = Date.now() + LIFE_MS
    const path = segments.map((segment) => `/${encodeURIComponent(segment)}`).join('')
    return { path: `${path}?expires=${expires}&signature=${this.#signature(segments, expires)}`, expires }
  }

  /** Throws DOWNLOAD_REFUSED for an address that is not ours, or is over. */
  check(segments: readonly string[], { expires, signature }: { expires: number; signature: string }): void {
    const expected = Buffer.from(this.#signature(segments, expires))
    const given = Buffer.from(signature)
    const isOurs = given.length === expected.length && timingSafeEqual(given, expected)
    if (!isOurs || expires <= Date.now()) throw serviceError('DOWNLOAD_REFUSED')
  }

  #signature(segments: readonly string[], expires: number): string {
    return createHmac('sha256', this.#secret)
      .update(JSON.stringify([expires, ...segments]))
      .digest('base64url')
  }
}

/** The secret of a state directory, made at the first start: whole or not there, should two servers start at once. */
export function addressSecret(stateDir: string): Uint8Array {
  const file = join(stateDir, 'download-secret')
  if (existsSync(file)) return readFileSync(file)
  const own = `${file}.${randomUUID()}`
  writeFileSync(own, randomBytes(32), { mode: 0o600 })
  try {
    linkSync(own, file)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  } finally {
    rmSync(own)
  }
  return readFileSync(file)
}
