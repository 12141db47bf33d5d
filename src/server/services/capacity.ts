// How much of everything a tenant has, and how many adapters it may have in training. Counts rows; decides nothing.

import type { Kysely } from 'kysely'
import type { Database } from '../store/schema.ts'
import type { LimitsOf } from './limits.ts'

export interface CapacityParts {
  readonly db: Kysely<Database>
  readonly limitsOf: LimitsOf
  /** Adapters that the engines of this server have at a time, together; more of them take turns on disk. */
  readonly liveAdapters: number
}

export class Capacity {
  readonly #parts: CapacityParts
  constructor(parts: CapacityParts) {
    this.#parts = parts
  }

  /** Of a tenant's limit, or of what fits without going to disk where it has none. */
  async adapters(tenant: string): Promise<{ most: number; used: number }> {
    const { limitsOf, liveAdapters } = this.#parts
    return { most: limitsOf(tenant).adapters ?? liveAdapters, used: await this.#runs(tenant) }
  }

  async resources(
    tenant: string,
  ): Promise<{ sessions: number; models: number; sampling_sessions: number; futures: number }> {
    const { db } = this.#parts
    const count = async (query: Promise<{ count: number }>) => Number((await query).count)
    const sessions = db.selectFrom('sessions').where('tenant', '=', tenant).where('state', '=', 'active')
    const samplers = db
      .selectFrom('sampling_sessions')
      .innerJoin('sessions', 'sessions.id', 'sampling_sessions.session')
      .where('sampling_sessions.tenant', '=', tenant)
      .where('sessions.state', '=', 'active')
    const futures = db.selectFrom('operations').where('tenant', '=', tenant).where('state', 'in', ['queued', 'running'])
    return {
      sessions: await count(sessions.select((eb) => eb.fn.countAll<number>().as('count')).executeTakeFirstOrThrow()),
      models: await this.#runs(tenant),
      sampling_sessions: await count(
        samplers.select((eb) => eb.fn.countAll<number>().as('count')).executeTakeFirstOrThrow(),
      ),
      futures: await count(futures.select((eb) => eb.fn.countAll<number>().as('count')).executeTakeFirstOrThrow()),
    }
  }

  async #runs(tenant: string): Promise<number> {
    const { count } = await this.#parts.db
      .selectFrom('runs')
      .select(({ fn }) => fn.countAll<number>().as('count'))
      .where('tenant', '=', tenant)
      .where('state', 'in', ['creating', 'ready'])
      .executeTakeFirstOrThrow()
    return Number(count)
  }
}
