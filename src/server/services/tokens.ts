// Tokens that stand for a key for an hour: clients exchange their key for one and send it in the key's place. Whether the
// key that a token stands for is still good is tenants.ts's knowledge.

import { serviceError } from '../errors.ts'
import { SignedClaims } from './signed-claims.ts'

/** The SDK renews a token at half its life, and exchanges before every call when it has under a minute left. */
const LIFE_SECONDS = 3600
const ISSUER = 'twinkle'

export interface TokenClaims {
  readonly tenant: string
  /** Id of the key that it stands for. */
  readonly key: string
}

export class Tokens {
  readonly #claims: SignedClaims
  /** @param secret Of the state directory. */
  constructor(secret: Uint8Array) {
    this.#claims = new SignedClaims(secret, 'tokens')
  }

  issue({ tenant, key }: TokenClaims): string {
    const claims = { iss: ISSUER, sub: tenant, org_id: tenant, email: emailOf(tenant), key }
    return this.#claims.sign(claims, LIFE_SECONDS)
  }

  /** What is in a token; null for what is no token of ours. Throws TOKEN_OVER. */
  read(token: string): TokenClaims | null {
    const read = this.#claims.read(token)
    if (!read) return null
    const { sub, key } = read.claims
    // Earlier versions did not write down the key.
    if (key === undefined || read.isOver) throw serviceError('TOKEN_OVER')
    return { tenant: sub as string, key: key as string }
  }
}

/** Clients insist on an address; nobody has one here, and this domain is reserved for saying so. */
export function emailOf(tenant: string): string {
  return `${tenant}@twinkle.invalid`
}
