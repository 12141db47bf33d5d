// Weights access tokens: each opens one checkpoint to whoever holds it, until its time is over or the key that made it is
// gone. The protocol says where such tokens are sent, not how they are made: here their owner makes them. A credential of
// the owner's own is taken in a token's place, as older SDKs use it.

import { createHash } from 'node:crypto'
import type { Kysely } from 'kysely'
import { ServiceError, serviceError } from '../errors.ts'
import type { Database } from '../store/schema.ts'
import { writeAudit } from './audit.ts'
import { type Checkpoints, parseTinkerPath } from './checkpoints.ts'
import { SignedClaims } from './signed-claims.ts'
import type { Tenant, Tenants } from './tenants.ts'

/** A day where nothing is said; a minute to a month. */
const LIFE_SECONDS = { min: 60, max: 31 * 86_400, standard: 86_400 }

export interface WeightsToken {
  readonly token: string
  /** Milliseconds since 1970. */
  readonly expires: number
}

interface Parts {
  readonly db: Kysely<Database>
  readonly checkpoints: Checkpoints
  readonly tenants: Tenants
}

export class WeightsAccess {
  readonly #parts: Parts
  readonly #claims: SignedClaims
  /** @param secret Of the state directory. */
  constructor(secret: Uint8Array, parts: Parts) {
    this.#claims = new SignedClaims(secret, 'weights')
    this.#parts = parts
  }

  /** Throws CHECKPOINT_NOT_FOUND for what is not the tenant's own, and INVALID_TOKEN_LIFE. */
  async issue({ id: tenant, key }: Tenant, path: string, lifeSeconds = LIFE_SECONDS.standard): Promise<WeightsToken> {
    const { min, max } = LIFE_SECONDS
    if (!Number.isInteger(lifeSeconds) || lifeSeconds < min || lifeSeconds > max) {
      throw serviceError('INVALID_TOKEN_LIFE', { ttl: lifeSeconds, min, max })
    }
    await this.#parts.checkpoints.own(tenant, path)
    const token = this.#claims.sign({ sub: tenant, key, path }, lifeSeconds)
    const details = { actor: tenant, tinker_path: path, ttl_seconds: lifeSeconds }
    await writeAudit(this.#parts.db, tenant, 'checkpoint_share', details)
    return { token, expires: Date.now() + lifeSeconds * 1000 }
  }

  /**
   * The tenant as whom `path` may be read: the one who asks, or the one that the token speaks for. Throws
   * WEIGHTS_TOKEN_REFUSED, the same for whatever is wrong with a token.
   */
  async readerOf(tenant: string, path: string, token: string | null | undefined): Promise<string> {
    if (token == null) return tenant
    parseTinkerPath(path)
    const owner = await this.#speaksFor(token, path)
    const isReadable = owner !== null && (await this.#parts.checkpoints.find(owner, path).catch(unlessRefused)) !== null
    if (!isReadable) throw serviceError('WEIGHTS_TOKEN_REFUSED', { path })
    return owner
  }

  /** A token in the place of a key: a reader, who may look at that one checkpoint. Null for what is no such token. */
  async bearer(token: string): Promise<Tenant | null> {
    const read = token.startsWith('eyJ') ? this.#claims.read(token) : null
    if (!read) return null
    const { sub, key, path } = read.claims as { sub: string; key: string; path: string }
    if (read.isOver) throw serviceError('TOKEN_OVER')
    if (!(await this.#parts.tenants.isGood({ tenant: sub, key }))) return null
    const id = `reader-${createHash('sha256').update(token).digest('hex').slice(0, 16)}`
    return { id, role: 'reader', key, opens: { tenant: sub, path } }
  }

  async #speaksFor(token: string, path: string): Promise<string | null> {
    const bearer = await this.bearer(token).catch(unlessRefused)
    if (bearer?.opens) return bearer.opens.path === path ? bearer.opens.tenant : null
    const owner = await this.#parts.tenants.authenticate(token).catch(unlessRefused)
    return owner?.id ?? null
  }
}

/** What a token is refused for is nobody's business; a failing disk is. */
function unlessRefused(cause: unknown): null {
  if (cause instanceof ServiceError && cause.category === 'user') return null
  throw cause
}
