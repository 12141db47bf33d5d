// `twinkle keys create | list | revoke | rotate`: API keys in the database of a state directory, also while a server works on
// it. A new key is all that goes to stdout, so that a script can take it; what to know about it goes to stderr.

import { Keys, type ListedKey, type MadeKey } from '../server/services/keys.ts'
import { TenantRecords } from '../server/services/tenant-records.ts'
import { CommandError } from './complaint.ts'
import { withDatabase } from './database.ts'
import { duration } from './duration.ts'
import type { ServeFlags } from './serve.ts'
import { table } from './table.ts'

interface Common extends ServeFlags {
  readonly json?: boolean
}
export interface CreateOptions extends Common {
  readonly tenant: string
  readonly label?: string
  readonly role?: string
  readonly expires?: string
}
export interface RotateOptions extends Common {
  readonly grace?: string
}

const OPERATOR = 'operator'
const LONGEST_LABEL = 200

export async function createKey({ tenant, label = '', role = 'member', expires, ...rest }: CreateOptions) {
  if (role !== 'admin' && role !== 'member') {
    throw new CommandError(`--role cannot be ${JSON.stringify(role)}.`, 'Give admin or member.')
  }
  if (label.length > LONGEST_LABEL) {
    throw new CommandError(`The label has ${label.length} characters.`, `Give ${LONGEST_LABEL} at most.`)
  }
  const expiresAt = expires === undefined ? null : Date.now() + duration(expires, '--expires')
  const { json, ...flags } = rest
  await withDatabase(flags, true, async (db) => {
    const { id, name } = await new TenantRecords(db).findOrCreate(tenant)
    showMade(await new Keys(db).create({ tenant: id, label, role, expiresAt }, OPERATOR), name, json)
  })
}

export async function listKeys({ json, ...flags }: Common): Promise<void> {
  const keys = await withDatabase(flags, false, (db) => new Keys(db).list())
  process.stdout.write(`${json ? JSON.stringify({ keys: keys.map(keyFacts) }) : keysText(keys, Date.now())}\n`)
}

export async function revokeKey(id: string, { json, ...flags }: Common): Promise<void> {
  await withDatabase(flags, false, (db) => new Keys(db).revoke(id, OPERATOR))
  process.stdout.write(`${json ? JSON.stringify({ id, state: 'revoked' }) : `${id} is revoked.`}\n`)
}

export async function rotateKey(id: string, { json, grace = '0s', ...flags }: RotateOptions): Promise<void> {
  const graceMs = duration(grace, '--grace')
  await withDatabase(flags, false, async (db) => {
    const made = await new Keys(db).rotate(id, graceMs, OPERATOR)
    const { name } = await new TenantRecords(db).show(made.tenant)
    showMade(made, name, json)
    if (!json) process.stderr.write(`${id} ${graceMs ? `is good for ${grace} more` : 'is revoked'}.\n`)
  })
}

function showMade(made: MadeKey, tenantName: string, json: boolean | undefined): void {
  const { id, key, role, expiresAt } = made
  if (json) {
    process.stdout.write(`${JSON.stringify({ ...made, tenantName, expiresAt: time(expiresAt) })}\n`)
    return
  }
  const ends = expiresAt === null ? '' : `, until ${time(expiresAt)}`
  process.stderr.write(`${id}, ${role} of ${tenantName}${ends}. The key is shown this once:\n`)
  process.stdout.write(`${key}\n`)
}

export function keysText(keys: readonly ListedKey[], now: number): string {
  const rows = keys.map((key) => [
    key.id,
    key.tenantName,
    key.label,
    key.role,
    stateOf(key, now),
    day(key.created_at),
    key.expires_at === null ? 'never' : (time(key.expires_at) as string),
    key.last_used_at === null ? 'never' : (time(key.last_used_at) as string),
  ])
  return table(['KEY', 'TENANT', 'LABEL', 'ROLE', 'STATE', 'CREATED', 'EXPIRES', 'LAST USED'], rows)
}

function stateOf({ revoked_at, expires_at }: ListedKey, now: number): string {
  if (revoked_at !== null) return 'revoked'
  return expires_at !== null && expires_at <= now ? 'expired' : 'good'
}

function keyFacts(key: ListedKey) {
  const { id, tenant, tenantName, label, role } = key
  return {
    id,
    tenant,
    tenantName,
    label,
    role,
    state: stateOf(key, Date.now()),
    createdAt: time(key.created_at),
    expiresAt: time(key.expires_at),
    revokedAt: time(key.revoked_at),
    lastUsedAt: time(key.last_used_at),
  }
}

/** In UTC, to the minute. */
function time(at: number | null): string | null {
  return at === null ? null : `${new Date(at).toISOString().slice(0, 16)}Z`
}

const day = (at: number) => new Date(at).toISOString().slice(0, 10)
