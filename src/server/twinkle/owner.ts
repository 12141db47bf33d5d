// Whose an adapter is within its tenant. Clients send one id for the life of a process or of a session, under names that
// changed from release to release; a request with none of them belongs to its key. Knows headers and nothing of adapters.

import { createHash } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { serviceError } from '../errors.ts'
import type { Tenant } from '../services/tenants.ts'

export const SESSION_HEADER = 'x-twinkle-session-id'

/** The first that is there is the one. Proxies write `-` for `_`. */
const OWNER_HEADERS = [
  SESSION_HEADER,
  'x-request-id',
  'x-ray-serve-request-id',
  'serve_multiplexed_model_id',
  'serve-multiplexed-model-id',
] as const

/** Part of a run id, which is part of a path. */
const OWNER = /^[\w.-]{1,128}$/

/**
 * Twinkle's sessions win over the id of the client's process, as in its own server.
 *
 * @throws ServiceError INVALID_OWNER for what cannot be a part of a path
 */
export function ownerOf(headers: IncomingHttpHeaders, tenant: Tenant): string {
  for (const name of OWNER_HEADERS) {
    const value = [headers[name]].flat()[0]?.trim()
    if (!value) continue
    if (!OWNER.test(value)) throw serviceError('INVALID_OWNER', { header: name, value: value.slice(0, 64) })
    return value
  }
  return `key_${createHash('sha256').update(`${tenant.id} ${tenant.key}`).digest('hex').slice(0, 32)}`
}

/** Whether the caller is one of Twinkle's clients, or Tinker's SDK after its patch: they know paths as twinkle://. */
export function speaksTwinkle(headers: IncomingHttpHeaders): boolean {
  const { 'x-request-id': _, ...own } = headers
  return 'twinkle-authorization' in headers || OWNER_HEADERS.some((name) => name in own)
}
