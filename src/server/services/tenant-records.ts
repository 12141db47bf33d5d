// Tenants as their operator sees them: by name, with what they may use and what they use. A tenant without a row (a key of
// the configuration, or any key of an open server) is known by its id wherever it owns something, and gets a row when it is
// given a name, a key or limits. Owns no request: who is behind one is tenants.ts's.

import { randomBytes } from 'node:crypto'
import type { Kysely } from 'kysely'
import { serviceError } from '../errors.ts'
import type { Database } from '../store/schema.ts'
import { transact } from '../store/transact.ts'
import { writeAudit } from './audit.ts'
import { noteKeyChange } from './keys.ts'
import type { TenantLimits } from './limits.ts'

export interface TenantRecord {
  readonly id: string
  readonly name: string
  /** What differs from the limits of the configuration. */
  readonly limits: Partial<TenantLimits>
}

export interface TenantUse extends TenantRecord {
  /** Keys that are good. */
  readonly keys: number
  /** Runs that are not unloaded. */
  readonly adapters: number
  readonly storageBytes: number
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/
const ID = /^[0-9a-f]{24}$/

export class TenantRecords {
  readonly #db: Kysely<Database>
  constructor(db: Kysely<Database>) {
    this.#db = db
  }

  /** By name, then by id; made where there is none. Throws INVALID_TENANT_NAME. */
  async findOrCreate(nameOrId: string): Promise<TenantRecord> {
    return transact(this.#db, (trx) => findOrCreate(trx, nameOrId))
  }

  /** Every tenant that has a row, or owns a session. */
  async list(): Promise<TenantUse[]> {
    const rows = await this.#db.selectFrom('tenants').selectAll().orderBy('name').execute()
    const nameless = await this.#db
      .selectFrom('sessions')
      .select('tenant as id')
      .distinct()
      .where('tenant', 'not in', (eb) => eb.selectFrom('tenants').select('id'))
      .orderBy('tenant')
      .execute()
    const records = [
      ...rows.map(({ id, name, limits }) => ({ id, name, limits: JSON.parse(limits) as Partial<TenantLimits> })),
      ...nameless.map(({ id }) => ({ id, name: id, limits: {} })),
    ]
    const uses = await this.#uses()
    return records.map((record) => ({ ...record, ...NOTHING, ...uses.get(record.id) }))
  }

  /** Throws UNKNOWN_TENANT. */
  async show(nameOrId: string): Promise<TenantUse> {
    const all = await this.list()
    const found = all.find(({ name }) => name === nameOrId) ?? all.find(({ id }) => id === nameOrId)
    if (found) return found
    throw serviceError('UNKNOWN_TENANT', { name: nameOrId, tenants: all.map(({ name }) => name) })
  }

  /**
   * A limit that is undefined is that of the configuration again. A tenant without a row is named by its id. Throws
   * UNKNOWN_TENANT, INVALID_TENANT_NAME and TENANT_EXISTS.
   */
  async set(
    nameOrId: string,
    changes: { readonly [K in keyof TenantLimits]?: TenantLimits[K] | undefined },
    newName?: string,
  ): Promise<TenantRecord> {
    return transact(this.#db, async (trx) => {
      await noteKeyChange(trx)
      const before = ID.test(nameOrId) ? await findOrCreate(trx, nameOrId) : await require(trx, nameOrId)
      const limits = { ...before.limits, ...changes } as Partial<TenantLimits>
      const name = newName ?? before.name
      if (newName !== undefined) await checkNewName(trx, before.id, newName)
      // JSON leaves out what is undefined.
      const row = { name, limits: JSON.stringify(limits) }
      await trx.updateTable('tenants').set(row).where('id', '=', before.id).execute()
      await writeAudit(trx, before.id, 'tenant_set', { actor: 'operator', name, limits: JSON.parse(row.limits) })
      return { id: before.id, name, limits: JSON.parse(row.limits) }
    })
  }

  async #uses(): Promise<Map<string, Partial<Pick<TenantUse, 'keys' | 'adapters' | 'storageBytes'>>>> {
    const keys = await this.#db
      .selectFrom('api_keys')
      .select(['tenant', (eb) => eb.fn.countAll<number>().as('keys')])
      .where('revoked_at', 'is', null)
      .where(({ or, eb }) => or([eb('expires_at', 'is', null), eb('expires_at', '>', Date.now())]))
      .groupBy('tenant')
      .execute()
    const runs = await this.#db
      .selectFrom('runs')
      .select(['tenant', (eb) => eb.fn.countAll<number>().as('adapters')])
      .where('state', 'in', ['creating', 'ready'])
      .groupBy('tenant')
      .execute()
    const storage = await this.#db
      .selectFrom('checkpoints')
      .select(['tenant', (eb) => eb.fn.sum<number>('bytes').as('storageBytes')])
      .groupBy('tenant')
      .execute()
    const uses = new Map<string, Record<string, number>>()
    for (const { tenant, ...use } of [...keys, ...runs, ...storage]) {
      const [[name, amount]] = Object.entries(use) as [[string, number]]
      uses.set(tenant, { ...uses.get(tenant), [name]: Number(amount) })
    }
    return uses
  }
}

const NOTHING = { keys: 0, adapters: 0, storageBytes: 0 }

async function find(trx: Kysely<Database>, nameOrId: string): Promise<TenantRecord | null> {
  const rows = await trx
    .selectFrom('tenants')
    .selectAll()
    .where(({ or, eb }) => or([eb('name', '=', nameOrId), eb('id', '=', nameOrId)]))
    .execute()
  const row = rows.find(({ name }) => name === nameOrId) ?? rows[0]
  return row ? { id: row.id, name: row.name, limits: JSON.parse(row.limits) } : null
}

async function require(trx: Kysely<Database>, nameOrId: string): Promise<TenantRecord> {
  const found = await find(trx, nameOrId)
  if (found) return found
  const all = await trx.selectFrom('tenants').select('name').orderBy('name').execute()
  throw serviceError('UNKNOWN_TENANT', { name: nameOrId, tenants: all.map(({ name }) => name) })
}

async function findOrCreate(trx: Kysely<Database>, nameOrId: string): Promise<TenantRecord> {
  const found = await find(trx, nameOrId)
  if (found) return found
  if (!NAME.test(nameOrId)) throw serviceError('INVALID_TENANT_NAME', { name: nameOrId })
  // The id of a tenant that has no row yet: what it owns stays its own.
  const id = ID.test(nameOrId) ? nameOrId : randomBytes(12).toString('hex')
  await trx.insertInto('tenants').values({ id, name: nameOrId, limits: '{}', created_at: Date.now() }).execute()
  await noteKeyChange(trx)
  return { id, name: nameOrId, limits: {} }
}

async function checkNewName(trx: Kysely<Database>, id: string, name: string): Promise<void> {
  // A name that looks like an id could be taken for another tenant's.
  if (!NAME.test(name) || (ID.test(name) && name !== id)) throw serviceError('INVALID_TENANT_NAME', { name })
  const taken = await trx.selectFrom('tenants').select('id').where('name', '=', name).executeTakeFirst()
  if (taken && taken.id !== id) throw serviceError('TENANT_EXISTS', { name })
}
