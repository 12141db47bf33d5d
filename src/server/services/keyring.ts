// What the database says of keys and tenants, in memory: whose a key is and what its tenant may use. The database has one
// number that grows with every change, also by another process (`twinkle keys`); who asks for a key reads that number first,
// and everything again when it is another. Writes nothing but when a key was last used.

import type { Kysely, Selectable } from 'kysely'
import type { ApiKeyTable, Database } from '../store/schema.ts'
import type { TenantLimits } from './limits.ts'

export type ApiKey = Selectable<ApiKeyTable>

export interface KnownTenant {
  readonly id: string
  readonly name: string
  readonly limits: Partial<TenantLimits>
}

/** `last_used_at` is for people who look for keys that nobody needs: it may lag by this much. */
const USED_EVERY_MS = 600_000
const MINUTE_MS = 60_000

export class Keyring {
  readonly #db: Kysely<Database>
  readonly #log: (cause: unknown) => void
  readonly #listeners: (() => void)[] = []
  #byHash: ReadonlyMap<string, ApiKey> = new Map()
  #byId: ReadonlyMap<string, ApiKey> = new Map()
  #tenants: ReadonlyMap<string, KnownTenant> = new Map()
  readonly #used = new Map<string, number>()
  #version = -1
  #checking: Promise<void> | undefined

  constructor(db: Kysely<Database>, log: (cause: unknown) => void) {
    this.#db = db
    this.#log = log
  }

  /** True once a key was made, for ever: revoking the last one must not let everybody in. */
  get hasKeys(): boolean {
    return this.#byId.size > 0
  }

  byHash(hash: string): ApiKey | undefined {
    return this.#byHash.get(hash)
  }

  byId(id: string): ApiKey | undefined {
    return this.#byId.get(id)
  }

  tenant(id: string): KnownTenant | undefined {
    return this.#tenants.get(id)
  }

  /** Called after tenants or keys have changed. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener)
  }

  /** Afterwards everything here is as the database had it when this was called, or later. Those who ask at once share a look. */
  async refresh(): Promise<void> {
    this.#checking ??= this.#check().finally(() => {
      this.#checking = undefined
    })
    return this.#checking
  }

  async #check(): Promise<void> {
    const { version } = await this.#db.selectFrom('key_changes').select('version').executeTakeFirstOrThrow()
    if (version === this.#version) return
    const keys = await this.#db.selectFrom('api_keys').selectAll().execute()
    const tenants = await this.#db.selectFrom('tenants').select(['id', 'name', 'limits']).execute()
    this.#byHash = new Map(keys.map((key) => [key.hash, key]))
    this.#byId = new Map(keys.map((key) => [key.id, key]))
    this.#tenants = new Map(tenants.map((tenant) => [tenant.id, { ...tenant, limits: JSON.parse(tenant.limits) }]))
    // Read first, so that a change in between is found by the next look.
    this.#version = version
    for (const listener of this.#listeners) listener()
  }

  /** Notes that a key was used just now. */
  used({ id, last_used_at }: ApiKey): void {
    const now = Date.now()
    if (now - Math.max(this.#used.get(id) ?? 0, last_used_at ?? 0) < USED_EVERY_MS) return
    this.#used.set(id, now)
    const minute = now - (now % MINUTE_MS)
    const update = this.#db.updateTable('api_keys').set({ last_used_at: minute }).where('id', '=', id)
    void update.execute().catch(this.#log)
  }
}
