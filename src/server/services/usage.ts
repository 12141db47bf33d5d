// The ledger: tokens and saves by tenant, session, base model and kind, in hours, and storage beside them. An amount is
// written in the transaction that ends its operation, so what failed costs nothing and what is done again after a crash counts
// once. A session counts for the key that opened it.

import type { Kysely } from 'kysely'
import type { Database, UsageTable } from '../store/schema.ts'
import { readStorageMeter } from './storage-meter.ts'

export type UsageKind = UsageTable['kind']

export interface Usage {
  readonly tenant: string
  readonly session: string | null
  readonly baseModel: string
  readonly kind: UsageKind
  /** Of checkpoints, how many. */
  readonly tokens: number
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

export interface LedgerRow {
  readonly tenant: string
  /** The hour's begin, milliseconds since 1970. */
  readonly hour: number
  readonly session: string | null
  readonly baseModel: string
  readonly kind: UsageKind | 'storage'
  /** Tokens; of `checkpoint`, how many were saved; of `storage`, bytes times hours. */
  readonly amount: number
  readonly projectId: string | null
  /** JSON. */
  readonly userMetadata: string | null
  /** Id of the key that opened the session; null: not known. */
  readonly apiKey: string | null
}

export class Ledger {
  readonly #db: Kysely<Database>
  constructor(db: Kysely<Database>) {
    this.#db = db
  }

  /**
   * Hours that begin in [from, to), oldest first, each with its session's project, metadata and key where there is one; of all
   * tenants where none is named.
   */
  async between(tenant: string | null, from: number, to: number): Promise<LedgerRow[]> {
    await readStorageMeter(this.#db)
    const [tokens, storage] = [await this.#tokens(tenant, from, to), await this.#storage(tenant, from, to)]
    return [...tokens, ...storage].sort((a, b) => a.hour - b.hour)
  }

  async #tokens(tenant: string | null, from: number, to: number): Promise<LedgerRow[]> {
    const rows = await this.#db
      .selectFrom('usage as u')
      .leftJoin('sessions as s', 's.id', 'u.session')
      .select(['u.tenant', 'u.hour', 'u.session', 'u.base_model', 'u.kind', 'u.tokens as amount', ...OF_SESSION])
      .$if(tenant !== null, (query) => query.where('u.tenant', '=', tenant))
      .where('u.hour', '>=', from)
      .where('u.hour', '<', to)
      .orderBy('u.hour')
      .orderBy('u.session')
      .orderBy('u.kind')
      .execute()
    return rows.map((row) => ledgerRow(row, row.kind))
  }

  async #storage(tenant: string | null, from: number, to: number): Promise<LedgerRow[]> {
    const rows = await this.#db
      .selectFrom('storage_usage as u')
      .leftJoin('sessions as s', 's.id', 'u.session')
      .select(['u.tenant', 'u.hour', 'u.session', 'u.base_model', 'u.byte_hours as amount', ...OF_SESSION])
      .$if(tenant !== null, (query) => query.where('u.tenant', '=', tenant))
      .where('u.hour', '>=', from)
      .where('u.hour', '<', to)
      .orderBy('u.hour')
      .orderBy('u.session')
      .execute()
    return rows.map((row) => ledgerRow(row, 'storage'))
  }
}

const OF_SESSION = ['s.project_id', 's.user_metadata', 's.api_key'] as const

interface Row {
  readonly tenant: string
  readonly hour: number
  readonly session: string
  readonly base_model: string
  readonly amount: number
  readonly project_id: string | null
  readonly user_metadata: string | null
  readonly api_key: string | null
}

function ledgerRow(row: Row, kind: LedgerRow['kind']): LedgerRow {
  return {
    tenant: row.tenant,
    hour: Number(row.hour),
    session: row.session === '' ? null : row.session,
    baseModel: row.base_model,
    kind,
    amount: Number(row.amount),
    projectId: row.project_id,
    userMetadata: row.user_metadata,
    apiKey: row.api_key,
  }
}
