// Tokens that stand for a key for an hour (JWT, HS256): clients exchange their key for one and send it in the key's place.
// Knows signatures and times; whether the key that it stands for is still good is tenants.ts's knowledge.

import { createHmac, timingSafeEqual } from 'node:crypto'
import { serviceError } from '../errors.ts'

/** The SDK renews a token at half its life, and exchanges before every call when it has under a minute left. */
const LIFE_SECONDS = 3600
const ISSUER = 'twinkle'
const HEADER = encode({ alg: 'HS256', typ: 'JWT' })

export interface TokenClaims {
  readonly tenant: string
  /** Id of the key that it stands for. */
  readonly key: string
}

export class Tokens {
  readonly #secret: Uint8Array
  /** @param secret Of the state directory; tokens are signed with a key of their own that is derived from it. */
  constructor(secret: Uint8Array) {
    this.#secret = createHmac('sha256', secret).update('tokens').digest()
  }

  issue({ tenant, key }: TokenClaims): string {
    const iat = Math.floor(Date.now() / 1000)
    const claims = { iss: ISSUER, sub: tenant, org_id: tenant, email: `${tenant}@twinkle.invalid`, key, iat }
    const signed = `${HEADER}.${encode({ ...claims, exp: iat + LIFE_SECONDS })}`
    return `${signed}.${this.#signature(signed)}`
  }

  /** What is in a token; null for what is no token of ours. Throws TOKEN_OVER. */
  read(token: string): TokenClaims | null {
    const [header, claims, signature, ...rest] = token.split('.')
    if (header !== HEADER || !claims || !signature || rest.length) return null
    const expected = Buffer.from(this.#signature(`${header}.${claims}`))
    const given = Buffer.from(signature)
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) return null
    const { sub, key, exp } = JSON.parse(Buffer.from(claims, 'base64url').toString())
    // Earlier versions did not write down the key.
    if (key === undefined || exp * 1000 <= Date.now()) throw serviceError('TOKEN_OVER')
    return { tenant: sub, key }
  }

  #signature(signed: string): string {
    return createHmac('sha256', this.#secret).update(signed).digest('base64url')
  }
}

function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}
