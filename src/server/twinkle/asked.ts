// What every call about an adapter has: whose it is, of which base model, by which name; and its keyword arguments, which are
// all the fields of its body that the document gives no other meaning.

import type { IncomingHttpHeaders } from 'node:http'
import type { Kwargs } from '../../catalogue/arguments.ts'
import type { Tenant } from '../services/tenants.ts'
import type { Asked } from '../services/twinkle-adapters.ts'
import { partyOf } from './party.ts'

interface AdapterCall {
  readonly tenant: Tenant
  readonly params: { readonly base: string }
  readonly body: { readonly adapter_name?: string | null }
  readonly request: { readonly headers: IncomingHttpHeaders; readonly signal: AbortSignal }
}

/** Throws INVALID_OWNER. */
export function askedOf(call: AdapterCall): Asked {
  const { params, body, request } = call
  return { party: partyOf(call), baseModel: params.base, name: body.adapter_name ?? '', signal: request.signal }
}

/** Without the fields that say what the call is about, and without what is null, which is absent. */
export function keywords(body: object, ...named: readonly string[]): Kwargs {
  const known = ['adapter_name', ...named]
  const given = Object.entries(body).filter(([name, value]) => !known.includes(name) && value !== undefined)
  return Object.fromEntries(given)
}
