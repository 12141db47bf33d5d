// The caller of a handler as the services know it.

import type { IncomingHttpHeaders } from 'node:http'
import type { Tenant } from '../services/tenants.ts'
import type { Party } from '../services/twinkle-owners.ts'
import { ownerOf } from './owner.ts'

interface Asked {
  readonly tenant: Tenant
  readonly request: { readonly headers: IncomingHttpHeaders }
}

/** Throws INVALID_OWNER. */
export function partyOf({ tenant, request }: Asked): Party {
  return { tenant: tenant.id, key: tenant.key, owner: ownerOf(request.headers, tenant) }
}
