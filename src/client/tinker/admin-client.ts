// What an administrator asks of an account: who did what, and what it cost.

import { camelized } from './camel.ts'
import { Connection, type ConnectionOptions } from './connection.ts'
import type { CallOptions } from './model-operations.ts'

export type AuditEventType = 'all' | 'checkpoints' | 'projects' | 'teams' | 'organizations'

export class AdminClient {
  readonly #connection: Connection

  /** Throws TinkerError without a key, or for a URL that is none. */
  constructor(options: ConnectionOptions | Connection = {}) {
    this.#connection = options instanceof Connection ? options : new Connection(options)
  }

  /** Of one day (`2026-11-25`), or of the server's default span. */
  async getAuditLog(options: CallOptions & { readonly eventType?: AuditEventType; readonly day?: string } = {}) {
    const { eventType = 'all', day, signal } = options
    const query = { event_type: eventType, ...(day === undefined ? {} : { day }) }
    const method = 'AdminClient.get_audit_log'
    await this.#connection.open()
    return camelized(await this.#connection.http.json('getAuditLog', { query, method, signal }))
  }

  /** Events from the first time, inclusive, to the second, exclusive; ISO 8601 text or dates. */
  async getBillingUsage(startingOn: string | Date, endingBefore: string | Date, options: CallOptions = {}) {
    const query = { starting_on: timeText(startingOn), ending_before: timeText(endingBefore) }
    const method = 'AdminClient.get_billing_usage'
    const { signal } = options
    await this.#connection.open()
    return camelized(await this.#connection.http.json('getBillingUsageEvents', { query, method, signal }))
  }

  async getCurrentCheckpointStorageUsage(options: CallOptions & { readonly projectId?: string } = {}) {
    const { projectId, signal } = options
    const query = projectId === undefined ? {} : { project_id: projectId }
    const method = 'AdminClient.get_current_checkpoint_storage_usage'
    await this.#connection.open()
    return camelized(await this.#connection.http.json('getCurrentCheckpointStorage', { query, method, signal }))
  }
}

function timeText(time: string | Date): string {
  return typeof time === 'string' ? time : time.toISOString()
}
