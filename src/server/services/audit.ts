// Who did what to a tenant's checkpoints, projects, keys and limits. An entry is written in the transaction of what it tells of, so the log
// neither lacks nor invents anything. Entries are named RESOURCE_ACTION.

import type { Kysely } from 'kysely'
import type { Database } from '../store/schema.ts'

export type AuditEvent =
  | 'checkpoint_publish'
  | 'checkpoint_unpublish'
  | 'checkpoint_set_ttl'
  | 'checkpoint_delete'
  | 'checkpoint_expire'
  | 'checkpoint_copy'
  | 'checkpoint_share'
  | 'checkpoint_import'
  | 'project_assign_session'
  | 'api_key_create'
  | 'api_key_revoke'
  | 'api_key_rotate'
  | 'tenant_set'

export interface AuditEntry {
  /** Milliseconds since 1970. */
  readonly time: number
  readonly event: AuditEvent
  readonly details: Readonly<Record<string, unknown>>
}

const DAY_MS = 86_400_000

/** Part of the transaction that does what it tells of. `actor` is a tenant, `server`, or `operator` (the command line). */
export async function writeAudit(
  db: Kysely<Database>,
  tenant: string,
  event: AuditEvent,
  details: Readonly<Record<string, unknown>>,
): Promise<void> {
  const row = { tenant, event, details: JSON.stringify(details), created_at: Date.now() }
  await db.insertInto('audit').values(row).execute()
}

export class Audit {
  readonly #db: Kysely<Database>
  constructor(db: Kysely<Database>) {
    this.#db = db
  }

  /** Of one day in UTC that begins at `from`, oldest first; of all tenants where none is named. */
  async ofDay(tenant: string | null, from: number, resource: string | null): Promise<AuditEntry[]> {
    const rows = await this.#db
      .selectFrom('audit')
      .selectAll()
      .$if(tenant !== null, (query) => query.where('tenant', '=', tenant))
      .where('created_at', '>=', from)
      .where('created_at', '<', from + DAY_MS)
      .orderBy('id')
      .execute()
    return rows
      .filter(({ event }) => resource === null || event.startsWith(`${resource}_`))
      .map(({ created_at, event, details }) => ({
        time: created_at,
        event: event as AuditEvent,
        details: JSON.parse(details),
      }))
  }
}
