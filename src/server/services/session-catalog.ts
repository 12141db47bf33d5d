// What a tenant sees of its sessions: lists, what one holds, and searches. Sessions are never shared, so `accessible` is
// `owned` here. Reads only.

import type { Kysely, Selectable } from 'kysely'
import { serviceError } from '../errors.ts'
import type { Database, SessionTable } from '../store/schema.ts'
import { bounded, type PageRequest } from './catalog.ts'

export type Session = Selectable<SessionTable>

export interface SessionContents {
  readonly session: Session
  readonly runs: readonly string[]
  readonly samplers: readonly string[]
}

/** Where a search goes on: below this session in the order of newest first. */
export interface SessionMark {
  readonly createdAt: number
  readonly id: string
}

export interface SessionSearch {
  readonly id?: string
  readonly projects?: readonly string[]
  /** Words in the name, upper or lower case; together with `id`, one of the two is enough. */
  readonly displayName?: string
  /** Each entry must be in the session's metadata with an equal value. */
  readonly userMetadata: Readonly<Record<string, unknown>>
  readonly statuses?: readonly SessionStatus[]
  readonly limit: number
  readonly after?: SessionMark
}

export interface SessionStatus {
  readonly state: Session['state']
  /** Of a finished session; absent: any. */
  readonly reasons?: readonly string[]
}

export interface SessionSummary {
  readonly session: Session
  readonly checkpoints: number
  readonly bytes: number
}

/** Rows that are read at once where a search looks into their metadata. */
const BATCH = 200

export class SessionCatalog {
  readonly #db: Kysely<Database>
  constructor(db: Kysely<Database>) {
    this.#db = db
  }

  /** Ids, newest first. */
  async list(tenant: string, { limit, offset }: PageRequest): Promise<string[]> {
    const page = bounded({ limit, offset })
    const rows = await this.#newestFirst(tenant).limit(page.limit).offset(page.offset).execute()
    return rows.map((row) => row.id)
  }

  /** Throws UNKNOWN_SESSION. */
  async contents(tenant: string, id: string): Promise<SessionContents> {
    const session = await this.#newestFirst(tenant).where('id', '=', id).executeTakeFirst()
    if (!session) throw serviceError('UNKNOWN_SESSION', { id })
    const of = (table: 'runs' | 'sampling_sessions') =>
      this.#db.selectFrom(table).select('id').where('session', '=', id).orderBy('created_at').orderBy('id')
    const runs = await of('runs').execute()
    const samplers = await of('sampling_sessions').execute()
    return { session, runs: runs.map((run) => run.id), samplers: samplers.map((sampler) => sampler.id) }
  }

  /** Newest first; `next` where there are more. */
  async search(
    tenant: string,
    search: SessionSearch,
  ): Promise<{ found: readonly SessionSummary[]; next: SessionMark | null }> {
    const found: Session[] = []
    let after = search.after
    for (;;) {
      const rows = await this.#batch(tenant, search, after).limit(BATCH).execute()
      for (const row of rows) {
        if (!matches(row, search)) continue
        if (found.length === search.limit) return { found: await this.#summaries(found), next: markOf(found.at(-1)) }
        found.push(row)
      }
      const last = rows.at(-1)
      if (!last || rows.length < BATCH) return { found: await this.#summaries(found), next: null }
      after = { createdAt: last.created_at, id: last.id }
    }
  }

  #newestFirst(tenant: string) {
    return this.#db
      .selectFrom('sessions')
      .selectAll()
      .where('tenant', '=', tenant)
      .orderBy('created_at', 'desc')
      .orderBy('id', 'desc')
  }

  #batch(tenant: string, { id, displayName, projects, statuses }: SessionSearch, after: SessionMark | undefined) {
    let query = this.#newestFirst(tenant)
    if (id !== undefined && displayName === undefined) query = query.where('id', '=', id)
    if (projects) query = query.where('project_id', 'in', projects)
    if (statuses) {
      query = query.where(
        'state',
        'in',
        statuses.map((status) => status.state),
      )
    }
    if (!after) return query
    const { createdAt, id: last } = after
    return query.where(({ eb, or, and }) =>
      or([eb('created_at', '<', createdAt), and([eb('created_at', '=', createdAt), eb('id', '<', last)])]),
    )
  }

  async #summaries(sessions: readonly Session[]): Promise<SessionSummary[]> {
    if (!sessions.length) return []
    const ids = sessions.map((session) => session.id)
    const sums = await this.#db
      .selectFrom('checkpoints')
      .innerJoin('runs', 'runs.id', 'checkpoints.run')
      .select(({ fn }) => [
        'runs.session',
        fn.countAll<number>().as('count'),
        fn.sum<number>('checkpoints.bytes').as('bytes'),
      ])
      .where('runs.session', 'in', ids)
      .groupBy('runs.session')
      .execute()
    const bySession = new Map(sums.map((sum) => [sum.session, sum]))
    return sessions.map((session) => {
      const sum = bySession.get(session.id)
      return { session, checkpoints: Number(sum?.count ?? 0), bytes: Number(sum?.bytes ?? 0) }
    })
  }
}

function markOf(session: Session | undefined): SessionMark | null {
  return session ? { createdAt: session.created_at, id: session.id } : null
}

/** What no index helps with. */
function matches(session: Session, { id, displayName, userMetadata, statuses }: SessionSearch): boolean {
  if (displayName !== undefined && session.id !== id && !isNamed(session, displayName)) return false
  if (statuses && !statuses.some((status) => hasStatus(session, status))) return false
  const metadata: Record<string, unknown> = JSON.parse(session.user_metadata)
  return Object.entries(userMetadata).every(
    ([key, value]) => Object.hasOwn(metadata, key) && canonical(metadata[key]) === canonical(value),
  )
}

/** Each word must be somewhere in the name. */
function isNamed({ display_name }: Session, words: string): boolean {
  const name = display_name?.toLowerCase() ?? ''
  return words
    .toLowerCase()
    .split(/\s+/)
    .every((word) => name.includes(word))
}

function hasStatus(session: Session, { state, reasons }: SessionStatus): boolean {
  return session.state === state && (!reasons || reasons.includes(session.finish_reason ?? ''))
}

/** Equal for equal JSON, in whatever order its keys stand. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, inner) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  )
}
