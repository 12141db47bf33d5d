// `twinkle tenants list | show | set`: who has keys on a server, what they may use and what they use, from the database of a
// state directory, also while a server works on it.

import { ConfigError, ExpectedError } from '../server/config-values.ts'
import { LIMIT_FIELDS, LIMIT_NAMES, type LimitName, limitKey } from '../server/limit-fields.ts'
import type { TenantLimits } from '../server/services/limits.ts'
import { TenantRecords, type TenantUse } from '../server/services/tenant-records.ts'
import { withDatabase } from './database.ts'
import type { ServeFlags } from './serve.ts'
import { table } from './table.ts'

interface Common extends ServeFlags {
  readonly json?: boolean
}
export type SetOptions = Common & { readonly name?: string } & { readonly [K in LimitName]?: string }

export async function listTenants({ json, ...flags }: Common): Promise<void> {
  await withDatabase(flags, false, async (db, config) => {
    const tenants = await new TenantRecords(db).list()
    print(json ? JSON.stringify({ tenants: tenants.map((t) => facts(t, config.limits)) }) : tenantsText(tenants))
  })
}

export async function showTenant(nameOrId: string, { json, ...flags }: Common): Promise<void> {
  await withDatabase(flags, false, async (db, config) => {
    const tenant = await new TenantRecords(db).show(nameOrId)
    print(json ? JSON.stringify(facts(tenant, config.limits)) : tenantText(tenant, config.limits))
  })
}

export async function setTenant(nameOrId: string, { json, name, ...given }: SetOptions): Promise<void> {
  const changes = Object.fromEntries(
    LIMIT_NAMES.filter((limit) => given[limit] !== undefined).map((limit) => [limit, read(limit, given[limit])]),
  )
  const flags = Object.fromEntries(Object.entries(given).filter(([key]) => !(key in LIMIT_FIELDS)))
  await withDatabase(flags, true, async (db, config) => {
    const records = new TenantRecords(db)
    const { id } = await records.set(nameOrId, changes, name)
    const tenant = await records.show(id)
    print(json ? JSON.stringify(facts(tenant, config.limits)) : tenantText(tenant, config.limits))
  })
}

/** `default`: what the configuration says counts again. */
function read(name: LimitName, value: string | undefined): number | null | undefined {
  if (value === 'default') return undefined
  try {
    return LIMIT_FIELDS[name].read(value, { base: '.' })
  } catch (cause) {
    if (!(cause instanceof ExpectedError)) throw cause
    const flag = `--${limitKey(name).replaceAll('_', '-')}`
    throw new ConfigError(`${flag} cannot be ${JSON.stringify(value)}.`, `Give ${cause.message}, or default.`)
  }
}

export function tenantsText(tenants: readonly TenantUse[]): string {
  const rows = tenants.map((tenant) => [
    tenant.name,
    tenant.id,
    String(tenant.keys),
    String(tenant.adapters),
    mebibytes(tenant.storageBytes),
    Object.entries(tenant.limits)
      .map(([name, value]) => `${limitKey(name as LimitName)}=${value ?? 'none'}`)
      .join(' '),
  ])
  return table(['TENANT', 'ID', 'KEYS', 'RUNS', 'CHECKPOINTS', 'OWN LIMITS'], rows)
}

export function tenantText(tenant: TenantUse, defaults: TenantLimits): string {
  const inUse: Partial<Record<LimitName, string>> = {
    adapters: String(tenant.adapters),
    storageBytes: mebibytes(tenant.storageBytes),
  }
  const rows = LIMIT_NAMES.map((name) => {
    const isOwn = name in tenant.limits
    const value = isOwn ? tenant.limits[name] : defaults[name]
    const shown =
      value === null || value === undefined ? 'none' : name.endsWith('Bytes') ? mebibytes(value) : `${value}`
    return [limitKey(name), shown, isOwn ? 'its own' : 'default', inUse[name] ?? '']
  })
  return [
    `${tenant.name} (${tenant.id}), ${tenant.keys} keys`,
    '',
    table(['LIMIT', 'VALUE', 'FROM', 'IN USE'], rows),
  ].join('\n')
}

function facts(tenant: TenantUse, defaults: TenantLimits) {
  const { id, name, keys, adapters, storageBytes } = tenant
  return { id, name, keys, adapters, storageBytes, limits: { ...defaults, ...tenant.limits }, own: tenant.limits }
}

const mebibytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`

function print(text: string): void {
  process.stdout.write(`${text}\n`)
}
