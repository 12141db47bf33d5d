// Who is asking: the key of a request, looked up by whoever knows keys. Tinker's SDKs send X-API-Key, Twinkle's clients send
// Authorization and, because proxies rewrite that one, Twinkle-Authorization. Knows no key itself.

import type { IncomingHttpHeaders } from 'node:http'
import { serviceError } from '../errors.ts'
import type { Tenant } from '../services/tenants.ts'

export type Authenticate = (key: string) => Promise<Tenant | null>

/** The first that is there is the one. */
const KEY_HEADERS = ['twinkle-authorization', 'x-api-key', 'authorization'] as const

/** Throws MISSING_KEY, WRONG_KEY, KEY_REVOKED, KEY_EXPIRED or TOKEN_OVER. */
export async function tenantOf(headers: IncomingHttpHeaders, authenticate: Authenticate): Promise<Tenant> {
  const key = keyOf(headers)
  if (key === null) throw serviceError('MISSING_KEY')
  const tenant = await authenticate(key)
  if (tenant === null) throw serviceError('WRONG_KEY')
  return tenant
}

/** Null where no header has one. `Bearer ` before it is not part of it. */
export function keyOf(headers: IncomingHttpHeaders): string | null {
  for (const name of KEY_HEADERS) {
    const value = headers[name]
    const key = typeof value === 'string' ? value.replace(/^bearer(\s+|$)/i, '').trim() : ''
    if (key !== '') return key
  }
  return null
}
