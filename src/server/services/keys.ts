// API keys of the database: made, listed, revoked and replaced, by the operator's command line and by their owners. A key is
// shown once, when it is made; what is kept is its hash (why a plain one, tenants.ts says). Servers hear of every change by
// `key_changes`.

import { createHash, randomBytes } from 'node:crypto'
import { type Kysely, sql } from 'kysely'
import { serviceError } from '../errors.ts'
import type { Database } from '../store/schema.ts'
import { transact } from '../store/transact.ts'
import { writeAudit } from './audit.ts'
import type { ApiKey } from './keyring.ts'
import type { Role } from './tenants.ts'

/** 256 bits: more than anybody can try. */
const KEY_BYTES = 32
/** SDKs refuse keys that begin with anything else. */
const PREFIX = 'tml-'

export interface NewKey {
  /** Its id. */
  readonly tenant: string
  readonly label: string
  readonly role: Role
  /** Milliseconds since 1970; null = never. */
  readonly expiresAt: number | null
}

export interface MadeKey extends NewKey {
  readonly id: string
  /** The key itself, which nobody can ask for again. */
  readonly key: string
}

export type ListedKey = Omit<ApiKey, 'hash'> & { readonly tenantName: string }

export class Keys {
  readonly #db: Kysely<Database>
  constructor(db: Kysely<Database>) {
    this.#db = db
  }

  async create(key: NewKey, actor: string): Promise<MadeKey> {
    return this.#change((trx) => insertKey(trx, key, 'api_key_create', { actor }))
  }

  /** Oldest first. */
  async list(): Promise<ListedKey[]> {
    const rows = await this.#db
      .selectFrom('api_keys')
      .innerJoin('tenants', 'tenants.id', 'api_keys.tenant')
      .selectAll('api_keys')
      .select('tenants.name as tenantName')
      .orderBy('api_keys.created_at')
      .orderBy('api_keys.id')
      .execute()
    return rows.map(({ hash: _, ...key }) => key)
  }

  /** From now on. Once more changes nothing. Throws UNKNOWN_KEY. */
  async revoke(id: string, actor: string): Promise<void> {
    await this.#change(async (trx) => {
      const { tenant, revoked_at } = await find(trx, id)
      if (revoked_at !== null) return
      await trx.updateTable('api_keys').set({ revoked_at: Date.now() }).where('id', '=', id).execute()
      await writeAudit(trx, tenant, 'api_key_revoke', { actor, key: id })
    })
  }

  /**
   * Makes another key for the same tenant, with the same label, role and life; the old one is good for `graceMs` more.
   * Throws UNKNOWN_KEY, KEY_REVOKED and KEY_EXPIRED.
   */
  async rotate(id: string, graceMs: number, actor: string): Promise<MadeKey> {
    return this.#change(async (trx) => {
      const old = await find(trx, id)
      const now = Date.now()
      if (old.revoked_at !== null) throw serviceError('KEY_REVOKED', { key: id })
      if (old.expires_at !== null && old.expires_at <= now) throw serviceError('KEY_EXPIRED', { key: id })
      const ends =
        graceMs === 0 ? { revoked_at: now } : { expires_at: Math.min(now + graceMs, old.expires_at ?? Infinity) }
      await trx.updateTable('api_keys').set(ends).where('id', '=', id).execute()
      const { tenant, label, role } = old
      const expiresAt = old.expires_at === null ? null : now + old.expires_at - old.created_at
      return insertKey(trx, { tenant, label, role, expiresAt }, 'api_key_rotate', { actor, replaces: id })
    })
  }

  #change<T>(work: (trx: Kysely<Database>) => Promise<T>): Promise<T> {
    return transact(this.#db, async (trx) => {
      await noteKeyChange(trx)
      return work(trx)
    })
  }
}

/**
 * Begins every transaction that changes keys or tenants, and so lets one at a time through: what it reads then stays so until
 * it ends. Servers read keys and tenants again.
 */
export async function noteKeyChange(trx: Kysely<Database>): Promise<void> {
  await trx.updateTable('key_changes').set({ version: sql<number>`version + 1` }).execute()
}

async function find(trx: Kysely<Database>, id: string): Promise<ApiKey> {
  const row = await trx.selectFrom('api_keys').selectAll().where('id', '=', id).executeTakeFirst()
  if (!row) throw serviceError('UNKNOWN_KEY', { id })
  return row
}

async function insertKey(
  trx: Kysely<Database>,
  { tenant, label, role, expiresAt }: NewKey,
  event: 'api_key_create' | 'api_key_rotate',
  details: Readonly<Record<string, string>>,
): Promise<MadeKey> {
  const key = `${PREFIX}${randomBytes(KEY_BYTES).toString('base64url')}`
  const id = `key-${randomBytes(6).toString('hex')}`
  const hash = createHash('sha256').update(key).digest('hex')
  const row = { id, tenant, hash, label, role, created_at: Date.now(), expires_at: expiresAt }
  await trx.insertInto('api_keys').values(row).execute()
  await writeAudit(trx, tenant, event, { ...details, key: id, label, role })
  return { id, key, tenant, label, role, expiresAt }
}
