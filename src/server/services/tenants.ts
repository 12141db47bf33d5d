// Who is behind an API key, and what they may use. Keys are known by their hash only: a plain SHA-256, since keys are random
// and long enough that nobody finds one by trying, which slow hashes are for; and every request is hashed. Keys of the
// configuration are tenants of their own; those of the database (keys.ts) belong to the tenant that they were made for.

import { createHash } from 'node:crypto'
import { serviceError } from '../errors.ts'
import type { ApiKey, Keyring } from './keyring.ts'
import type { TenantLimits } from './limits.ts'
import type { TokenClaims, Tokens } from './tokens.ts'

export type Role = ApiKey['role']

export interface Tenant {
  /** Not secret. */
  readonly id: string
  /** Of the key. An admin sees what belongs to all tenants where the documentation says so; it owns no more than others. */
  readonly role: Role | 'reader'
  /** The key that was used, by its id. */
  readonly key: string
  /** Of a reader, who holds a weights access token (weights-access.ts) and no key: the one checkpoint that it may look at. */
  readonly opens?: { readonly tenant: string; readonly path: string }
}

export class Tenants {
  readonly #keyring: Keyring
  readonly #tokens: Tokens
  /** Tenants of the configuration's keys by hash. */
  readonly #configured: ReadonlyMap<string, string>
  readonly #defaults: TenantLimits
  readonly #limits = new Map<string, TenantLimits>()

  /** @param keys `sha256:<64 hex digits>` each. */
  constructor(keys: readonly string[], defaults: TenantLimits, keyring: Keyring, tokens: Tokens) {
    const hashes = keys.map((key) => key.slice('sha256:'.length))
    this.#configured = new Map(hashes.map((hash) => [hash, tenantOfHash(hash)]))
    this.#defaults = defaults
    this.#keyring = keyring
    this.#tokens = tokens
    keyring.onChange(() => this.#limits.clear())
  }

  /** Any key is welcome: nobody has made or configured one. */
  get isOpen(): boolean {
    return this.#configured.size === 0 && !this.#keyring.hasKeys
  }

  /** By a key, or by a token that was given for one that is still good. Throws KEY_REVOKED, KEY_EXPIRED and TOKEN_OVER. */
  async authenticate(given: string): Promise<Tenant | null> {
    await this.#keyring.refresh()
    const claims = given.startsWith('eyJ') ? this.#tokens.read(given) : null
    if (claims) return this.#byId(claims)
    const hash = createHash('sha256').update(given).digest('hex')
    const key = this.#keyring.byHash(hash)
    if (key) return this.#owner(key)
    const id = this.isOpen ? tenantOfHash(hash) : this.#configured.get(hash)
    return id === undefined ? null : keyless(id)
  }

  /** Whether the key that something was made with is still good. */
  async isGood(claims: TokenClaims): Promise<boolean> {
    await this.#keyring.refresh()
    try {
      return this.#byId(claims) !== null
    } catch {
      return false
    }
  }

  #byId({ tenant, key: id }: TokenClaims): Tenant | null {
    const key = this.#keyring.byId(id)
    if (key) return key.tenant === tenant ? this.#owner(key) : null
    // A key without a row is its tenant's only one and has its name.
    const isKnown = this.isOpen || [...this.#configured.values()].includes(id)
    return isKnown && id === tenant ? keyless(id) : null
  }

  #owner(key: ApiKey): Tenant {
    const { id, tenant, role, revoked_at, expires_at } = key
    if (revoked_at !== null) throw serviceError('KEY_REVOKED', { key: id })
    if (expires_at !== null && expires_at <= Date.now()) throw serviceError('KEY_EXPIRED', { key: id })
    this.#keyring.used(key)
    return { id: tenant, role, key: id }
  }

  /** What people know of the key that was used. */
  keyFacts({ key, role }: Tenant): { label: string; role: Tenant['role'] } {
    return { label: this.#keyring.byId(key)?.label ?? '', role }
  }

  /** Null where a key has none. */
  labelOf(key: string): string | null {
    return this.#keyring.byId(key)?.label || null
  }

  /** Why the key that was used cannot be revoked here; null where it can. */
  whyItStays({ key }: Tenant): string | null {
    if (this.#keyring.byId(key)) return null
    return this.isOpen ? 'this server takes any key' : 'it stands in the configuration of the server'
  }

  /** As the latest request of anybody found them in the database. */
  limitsOf(tenant: string): TenantLimits {
    const known = this.#limits.get(tenant)
    if (known) return known
    const row = this.#keyring.tenant(tenant)
    if (!row) return this.#defaults
    const limits = { ...this.#defaults, ...row.limits }
    this.#limits.set(tenant, limits)
    return limits
  }

  /** Called when the limits of some tenant may have changed. */
  onLimits(listener: () => void): void {
    this.#keyring.onChange(listener)
  }

  /** What people call it. */
  nameOf(tenant: string): string {
    return this.#keyring.tenant(tenant)?.name ?? tenant
  }
}

function keyless(id: string): Tenant {
  return { id, role: 'member', key: id }
}

/** What a tenant without a row is called; tenants of the configuration own their things under it. */
function tenantOfHash(hash: string): string {
  return hash.slice(0, 24)
}
