// The ledger of tokens: by tenant, session, base model and kind, in hours. An amount is written in the transaction that ends
// its operation, so what failed costs nothing and what is done again after a crash counts once.

import type { Kysely } from 'kysely'
import type { Database, UsageTable } from '../store/schema.ts'

export type UsageKind = UsageTable['kind']

export interface Usage {
  readonly tenant: string
  readonly session: string | null
  readonly baseModel: string
  readonly kind: UsageKind
  readonly tokens: number
}

export interface UsageRow extends Usage {
  /** The hour's begin, milliseconds since 1970. */
  readonly hour: number
}

export const HOUR_MS = 3_600_000

/** Part of the transaction that ends the operation. */
export async function writeUsage(db: Kysely<Database>, usage: Usage): Promise<void> {
  if (usage.tokens === 0) return
  const now = Date.now()
  await db
    .insertInto('usage')
    .values({
      hour: now - (now % HOUR_MS),
      tenant: usage.tenant,
      session: usage.session ?? '',
      base_model: usage.baseModel,
      kind: usage.kind,
      tokens: usage.tokens,
    })
    .onConflict((conflict) =>
      conflict
        .columns(['tenant', 'hour', 'session', 'base_model', 'kind'])
        .doUpdateSet(({ eb, ref }) => ({ tokens: eb(ref('usage.tokens'), '+', ref('excluded.tokens')) })),
    )
    .execute()
}

export class Ledger {
  readonly #db: Kysely<Database>
  constructor(db: Kysely<Database>) {
    this.#db = db
  }

  /** Hours that begin in [from, to), oldest first, each with its session's project and metadata (JSON) where there is one. */
  async between(
    tenant: string,
    from: number,
    to: number,
  ): Promise<(UsageRow & { readonly projectId: string | null; readonly userMetadata: string | null })[]> {
    const rows = await this.#db
      .selectFrom('usage')
      .leftJoin('sessions', 'sessions.id', 'usage.session')
      .selectAll('usage')
      .select(['sessions.project_id', 'sessions.user_metadata'])
      .where('usage.tenant', '=', tenant)
      .where('usage.hour', '>=', from)
      .where('usage.hour', '<', to)
      .orderBy('usage.hour')
      .orderBy('usage.session')
      .orderBy('usage.kind')
      .execute()
    return rows.map((row) => ({
      hour: row.hour,
      tenant: row.tenant,
      session: row.session === '' ? null : row.session,
      baseModel: row.base_model,
      kind: row.kind,
      tokens: row.tokens,
      projectId: row.project_id,
      userMetadata: row.user_metadata,
    }))
  }
}
