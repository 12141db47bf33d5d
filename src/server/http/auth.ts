// Who is asking: the one header of the Tinker protocol, looked up by whoever knows keys. Knows no key itself.

import type { IncomingHttpHeaders } from 'node:http'
import { serviceError } from '../errors.ts'
import type { Tenant } from '../services/tenants.ts'

export type Authenticate = (key: string) => Promise<Tenant | null>

/** Throws MISSING_KEY, WRONG_KEY, KEY_REVOKED, KEY_EXPIRED or TOKEN_OVER. */
export async function tenantOf(headers: IncomingHttpHeaders, authenticate: Authenticate): Promise<Tenant> {
  const key = headers['x-api-key']
  if (typeof key !== 'string' || key === '') throw serviceError('MISSING_KEY')
  const tenant = await authenticate(key)
  if (tenant === null) throw serviceError('WRONG_KEY')
  return tenant
}
