// What an account asks about itself: its key, what its checkpoints take, who did what. With an admin's key, about everybody.

import { createHash } from 'node:crypto'
import type { Schemas } from '../../generated/operations.ts'
import { serviceError } from '../errors.ts'
import type { AuditEntry } from '../services/audit.ts'
import type { Services } from '../services/services.ts'
import type { Tenant } from '../services/tenants.ts'
import { emailOf } from '../services/tokens.ts'
import { HOUR_MS, type LedgerRow } from '../services/usage.ts'
import type { TinkerHandlers } from './handlers.ts'
import { isoTime } from './records.ts'

const DAY_MS = 86_400_000
/** The resources of the wire are plural, those of entries singular. */
const RESOURCES = {
  all: null,
  checkpoints: 'checkpoint',
  projects: 'project',
  teams: 'team',
  organizations: 'organization',
} as const

export function accountHandlers({ audit, catalog, keys, ledger, tenants, tokens }: Services) {
  /** Whose tokens they are: a key of one's own, or for an admin the tenant that has it. */
  const userOf = ({ role }: Tenant, { tenant, apiKey }: LedgerRow) => {
    const label = apiKey && tenants.labelOf(apiKey)
    return role === 'admin' ? [tenants.nameOf(tenant), label].filter(Boolean).join(' ') : label
  }

  return {
    authToken: async ({ tenant, request }) => {
      // A token that begot tokens would never end.
      if (`${request.headers['x-api-key']}`.startsWith('eyJ')) throw serviceError('WRONG_KEY')
      return { jwt: tokens.issue({ tenant: tenant.id, key: tenant.key }) }
    },
    // The SDK insists on a note and on an address.
    getCurrentApiKey: async ({ tenant }) => {
      const { label, role } = tenants.keyFacts(tenant)
      return {
        key_id: keyNumber(tenant.key),
        name: label === '' ? `key ${tenant.key.slice(0, 12)}` : label,
        note: role,
        details: { org_details: { name: tenants.nameOf(tenant.id) }, user_details: { email: emailOf(tenant.id) } },
      }
    },
    revokeCurrentApiKey: async ({ tenant }) => {
      const reason = tenants.whyItStays(tenant)
      if (reason !== null) throw serviceError('KEY_STAYS', { reason })
      await keys.revoke(tenant.key, tenant.id)
    },
    getCurrentCheckpointStorage: async ({ tenant, query }) => {
      const rows = await catalog.storage(scopeOf(tenant), query.project_id)
      return {
        data: rows.map(({ tenant: owner, projectId, checkpoints, bytes }) => ({
          project_id: projectId,
          org_user_urn: owner,
          user_name: tenants.nameOf(owner),
          checkpoint_count: checkpoints,
          size_bytes: bytes,
          size_gigabytes: bytes / GIGABYTE,
        })),
      }
    },
    getAuditLog: async ({ tenant, query }) => {
      const entries = await audit.ofDay(scopeOf(tenant), dayStart(query.day), RESOURCES[query.event_type])
      return { entries: entries.map(entryRecord) }
    },
    getBillingUsageEvents: async ({ tenant, query }) => {
      const [from, to] = [timeOf('starting_on', query.starting_on), timeOf('ending_before', query.ending_before)]
      const rows = await ledger.between(scopeOf(tenant), from, to)
      return {
        data: rows.map((row) => usageRecord(row, userOf(tenant, row))),
        sessions: Object.fromEntries(rows.flatMap(sessionRecord)),
      }
    },
  } satisfies Partial<TinkerHandlers>
}

/** Null: of all tenants. */
function scopeOf({ id, role }: Tenant): string | null {
  return role === 'admin' ? null : id
}

/** Milliseconds since 1970 at which the day begins in UTC; today by default. */
function dayStart(day: string | undefined): number {
  const now = Date.now()
  const start = day === undefined ? now - (now % DAY_MS) : Date.parse(`${day}T00:00:00Z`)
  if (!Number.isNaN(start)) return start
  throw serviceError('INVALID_QUERY', { operation: 'getAuditLog', problem: `day ${day} is no date` })
}

function timeOf(field: string, text: string): number {
  const time = Date.parse(text)
  if (!Number.isNaN(time)) return time
  throw serviceError('INVALID_QUERY', { operation: 'getBillingUsageEvents', problem: `${field} ${text} is no time` })
}

const GIGABYTE = 1e9

function usageRecord(row: LedgerRow, keyName: string | null): Schemas['UsageEvent'] {
  return {
    bucket_start: isoTime(row.hour),
    bucket_end: isoTime(row.hour + HOUR_MS),
    base_model: row.baseModel,
    // Keys take the place of the hosted service's users: one each for a person or a machine.
    user_id: row.apiKey,
    user_name: keyName,
    session_id: row.session,
    project_id: row.projectId,
    event_info: eventInfo(row),
  }
}

function eventInfo({ kind, amount }: LedgerRow): Schemas['UsageEvent']['event_info'] {
  if (kind === 'checkpoint') return { type: kind, count: amount }
  // SDKs before 0.36 refuse the field `free`, which means false where it is absent.
  if (kind === 'storage') return { type: kind, gigabyte_hours: amount / GIGABYTE }
  if (kind === 'sampling_prefill') return { type: kind, cached: false, token_count: amount }
  if (kind === 'sampling_prefill_cached') return { type: 'sampling_prefill', cached: true, token_count: amount }
  return { type: kind, token_count: amount }
}

function sessionRecord({ session, userMetadata }: LedgerRow) {
  return session === null ? [] : [[session, { user_metadata: JSON.parse(userMetadata ?? '{}') }] as const]
}

/** Stands for the key in a client's list of keys; not secret, as the key's id is not. */
function keyNumber(key: string): number {
  return createHash('sha256').update(key).digest().readUIntBE(0, 6)
}

function entryRecord({ time, event, details }: AuditEntry) {
  const path = details.tinker_path
  return {
    timestamp: isoTime(time),
    event,
    event_details: { ...details },
    ...(typeof path === 'string' && { tinker_path: path }),
  }
}
