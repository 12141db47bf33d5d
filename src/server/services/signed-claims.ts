// Claims that this server signed (JWT, HS256) and can read again. Each purpose has a secret of its own, so a token for one
// thing is nothing for another. Knows signatures and times; what claims mean is known to those who ask.

import { createHmac, timingSafeEqual } from 'node:crypto'

const HEADER = encode({ alg: 'HS256', typ: 'JWT' })

export type Claims = Readonly<Record<string, unknown>>

export class SignedClaims {
  readonly #secret: Uint8Array
  /** @param secret Of the state directory; the one that signs is derived from it. */
  constructor(secret: Uint8Array, purpose: string) {
    this.#secret = createHmac('sha256', secret).update(purpose).digest()
  }

  /** @param claims `iat` and `exp` are added; seconds since 1970. */
  sign(claims: Claims, lifeSeconds: number): string {
    const iat = Math.floor(Date.now() / 1000)
    const signed = `${HEADER}.${encode({ ...claims, iat, exp: iat + lifeSeconds })}`
    return `${signed}.${this.#signature(signed)}`
  }

  /** Null for what was not signed here for this purpose; `isOver` when its time is over. */
  read(token: string): { readonly claims: Claims; readonly isOver: boolean } | null {
    const [header, body, signature, ...rest] = token.split('.')
    if (header !== HEADER || !body || !signature || rest.length) return null
    const expected = Buffer.from(this.#signature(`${header}.${body}`))
    const given = Buffer.from(signature)
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) return null
    const claims = JSON.parse(Buffer.from(body, 'base64url').toString()) as Claims
    return { claims, isOver: Number(claims.exp) * 1000 <= Date.now() }
  }

  #signature(signed: string): string {
    return createHmac('sha256', this.#secret).update(signed).digest('base64url')
  }
}

function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}
