// Looking at sessions: list, one, search, trace.

import type { RequestBody, Schemas } from '../../generated/operations.ts'
import { serviceError } from '../errors.ts'
import { originOf } from '../http/origin.ts'
import type { Services } from '../services/services.ts'
import type { Session, SessionSearch, SessionStatus, SessionSummary } from '../services/session-catalog.ts'
import type { TinkerHandlers } from './handlers.ts'
import { isoTime } from './records.ts'

type SearchBody = RequestBody<'searchSessions'>

/** A session that fell silent is one that nobody finished: `cancelled` on the wire. We have none that `failed`. */
const STATES = { active: 'active', client_finished: 'finished', cancelled: 'expired', failed: null } as const

export function sessionSearchHandlers({ addresses, sessionCatalog, traces }: Services) {
  return {
    listSessions: async ({ tenant, query }) => ({ sessions: await sessionCatalog.list(tenant.id, query) }),
    getSession: async ({ tenant, params }) => {
      const { session, runs, samplers } = await sessionCatalog.contents(tenant.id, params.session_id)
      return {
        training_run_ids: [...runs],
        sampler_ids: [...samplers],
        user_metadata: JSON.parse(session.user_metadata),
        display_name: session.display_name,
      }
    },
    searchSessions: async ({ tenant, body }) => {
      if (!includesOwner(body, tenant.id)) return { sessions: [], next_cursor: null }
      const { found, next } = await sessionCatalog.search(tenant.id, searchOf(body))
      return {
        sessions: found.map(summaryRecord),
        next_cursor: next && { last_created_at: isoTime(next.createdAt), last_session_id: next.id },
      }
    },
    // The trace is made when it is fetched, so it is always ready.
    exportSessionTrace: async ({ tenant, params, request }) => {
      await traces.check(tenant.id, params.session_id)
      const { path } = addresses.sign('traces', params.session_id)
      return { status: 'ready', url: `${originOf(request.headers)}${path}` }
    },
  } satisfies Partial<TinkerHandlers>
}

/** Everybody sees own sessions only: a search for those of named others finds nothing. */
function includesOwner({ owner }: SearchBody, tenant: string): boolean {
  return owner?.type !== 'user' || (owner.owner_urns ?? []).includes(tenant)
}

function searchOf(body: SearchBody): SessionSearch {
  const { session_id, project_ids, display_name, statuses, cursor } = body
  return {
    ...(session_id != null && { id: session_id }),
    ...(project_ids && { projects: project_ids }),
    ...(display_name != null && { displayName: display_name }),
    ...(statuses && { statuses: statuses.flatMap(statusFilter) }),
    ...(cursor && { after: { createdAt: timeOf(cursor.last_created_at), id: cursor.last_session_id } }),
    userMetadata: body.user_metadata ?? {},
    limit: body.limit ?? 50,
  }
}

function statusFilter({ type, reasons }: Schemas['SessionStatusFilter']): SessionStatus[] {
  const state = STATES[type]
  return state ? [{ state, ...(reasons && { reasons }) }] : []
}

function timeOf(text: string): number {
  const time = Date.parse(text)
  if (!Number.isNaN(time)) return time
  throw serviceError('INVALID_BODY', { operation: 'searchSessions', problem: `last_created_at ${text} is no time` })
}

function summaryRecord({ session, checkpoints, bytes }: SessionSummary): Schemas['SessionSummary'] {
  return {
    session_id: session.id,
    created_at: isoTime(session.created_at),
    owner: session.tenant,
    project_id: session.project_id,
    status: statusRecord(session),
    checkpoints_count: checkpoints,
    display_name: session.display_name,
    user_metadata: JSON.parse(session.user_metadata),
    checkpoint_storage_bytes: bytes,
  }
}

function statusRecord({ state, finish_reason, finish_detail }: Session): Schemas['SessionStatus'] {
  if (state === 'active') return { type: 'active' }
  if (state === 'expired') return { type: 'cancelled', detail: 'its client fell silent' }
  const reason = { type: finish_reason as Schemas['FinishReason']['type'] }
  return { type: 'client_finished', reason, detail: finish_detail }
}
