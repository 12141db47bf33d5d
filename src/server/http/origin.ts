// The address that a client reaches this server by, for links in answers. It goes back to whoever sent the headers, so what
// a proxy or the client itself says of it is believed.

import type { IncomingHttpHeaders } from 'node:http'
import { serviceError } from '../errors.ts'

const HOST = /^[\w.-]+(?::\d+)?$|^\[[\da-fA-F:.]+\](?::\d+)?$/

/** `http://HOST[:PORT][PREFIX]`. Throws UNKNOWN_ORIGIN. */
export function originOf(headers: IncomingHttpHeaders): string {
  const host = first(headers['x-forwarded-host']) ?? headers.host ?? ''
  const scheme = first(headers['x-forwarded-proto']) ?? 'http'
  const prefix = first(headers['x-forwarded-prefix']) ?? ''
  if (!HOST.test(host) || !/^https?$/.test(scheme) || !/^(?:\/[\w.~-]+)*$/.test(prefix)) {
    throw serviceError('UNKNOWN_ORIGIN', { host })
  }
  return `${scheme}://${host}${prefix}`
}

/** Of a list that each proxy appends to, what the client saw. */
function first(header: string | string[] | undefined): string | undefined {
  return (Array.isArray(header) ? header[0] : header)?.split(',')[0]?.trim()
}
