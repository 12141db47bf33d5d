// Who is asking: the key in the headers of whichever protocol, looked up by whoever knows keys. Knows no key itself.

import type { IncomingHttpHeaders } from 'node:http'
import { serviceError } from '../errors.ts'
import type { Tenant } from '../services/tenants.ts'

export type Authenticate = (key: string) => Promise<Tenant | null>

/** Throws MISSING_KEY, WRONG_KEY, KEY_REVOKED, KEY_EXPIRED or TOKEN_OVER. */
export async function tenantOf(headers: IncomingHttpHeaders, authenticate: Authenticate): Promise<Tenant> {
  const key = keyIn(headers)
  if (key === undefined) throw serviceError('MISSING_KEY')
  const tenant = await authenticate(key)
  if (tenant === null) throw serviceError('WRONG_KEY')
  return tenant
}

/**
 * Twinkle's clients say `Twinkle-Authorization`, Tinker's SDK `X-API-Key`, OpenAI's clients `Authorization`: in this order,
 * since the last is the one that proxies fill in with something of their own.
 */
export function keyIn(headers: IncomingHttpHeaders): string | undefined {
  const bare = headers['twinkle-authorization']
  const given = [
    typeof bare === 'string' ? bare.replace(/^bearer(\s+|$)/i, '').trim() : undefined,
    headers['x-api-key'],
    bearer(headers.authorization ?? ''),
  ]
  return given.find((key): key is string => typeof key === 'string' && key !== '')
}

/** Other schemes than Bearer are no keys of ours. */
const bearer = (header: string): string | undefined => /^Bearer +(\S+) *$/i.exec(header)?.[1]
