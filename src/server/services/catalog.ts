// What a tenant sees when it looks around: training runs and checkpoints, newest first, in pages. Reads only. Every query
// begins with what the tenant may see, so no caller can forget it.

import type { Expression, ExpressionBuilder, Kysely, SqlBool } from 'kysely'
import { serviceError } from '../errors.ts'
import type { CheckpointKind, Database } from '../store/schema.ts'
import type { Checkpoint } from './checkpoints.ts'
import type { Run } from './runs.ts'

/** `accessible`: own things, and what others published. `all`: everybody's, which the caller has seen to be an admin's to see. */
export type AccessScope = 'owned' | 'accessible' | 'all'

export interface PageRequest {
  readonly limit: number
  readonly offset: number
}

export interface Page<T> extends PageRequest {
  readonly rows: readonly T[]
  /** Of the whole list. */
  readonly total: number
}

export interface RunRecord {
  readonly run: Run
  readonly lastCheckpoint: Checkpoint | null
  readonly lastSamplerCheckpoint: Checkpoint | null
}

export interface StoredBytes {
  readonly tenant: string
  readonly projectId: string | null
  readonly checkpoints: number
  readonly bytes: number
}

/** Rows of one answer at most; the answer says how many it looked for. */
const MAX_LIMIT = 1000

export class Catalog {
  readonly #db: Kysely<Database>
  constructor(db: Kysely<Database>) {
    this.#db = db
  }

  async runs(
    tenant: string,
    request: PageRequest & { readonly scope: AccessScope; readonly projectId?: string },
  ): Promise<Page<RunRecord>> {
    const { limit, offset } = bounded(request)
    let query = this.#runs(tenant, request.scope)
    if (request.projectId !== undefined) query = query.where('sessions.project_id', '=', request.projectId)
    const total = await query.select(({ fn }) => fn.countAll<number>().as('count')).executeTakeFirstOrThrow()
    const runs = await query
      .selectAll('runs')
      .orderBy('runs.created_at', 'desc')
      .orderBy('runs.id', 'desc')
      .limit(limit)
      .offset(offset)
      .execute()
    return { rows: await this.#withLast(tenant, runs), total: Number(total.count), limit, offset }
  }

  /** Throws UNKNOWN_MODEL_ID. */
  async run(tenant: string, id: string, scope: AccessScope): Promise<RunRecord> {
    const run = await this.#runs(tenant, scope).selectAll('runs').where('runs.id', '=', id).executeTakeFirst()
    const [record] = run ? await this.#withLast(tenant, [run]) : []
    if (!record) throw serviceError('UNKNOWN_MODEL_ID', { id })
    return record
  }

  /** Of one run: all for its owner, the published ones for others. Throws UNKNOWN_MODEL_ID. */
  async checkpointsOf(tenant: string, run: string, kinds: readonly CheckpointKind[]): Promise<readonly Checkpoint[]> {
    await this.run(tenant, run, 'accessible')
    return this.#checkpoints(tenant, 'accessible')
      .selectAll()
      .where('run', '=', run)
      .where('kind', 'in', kinds)
      .orderBy('id', 'desc')
      .execute()
  }

  async checkpoints(tenant: string, kinds: readonly CheckpointKind[], request: PageRequest): Promise<Page<Checkpoint>> {
    const { limit, offset } = bounded(request)
    const query = this.#checkpoints(tenant, 'owned').where('kind', 'in', kinds)
    const total = await query.select(({ fn }) => fn.countAll<number>().as('count')).executeTakeFirstOrThrow()
    const rows = await query.selectAll().orderBy('id', 'desc').limit(limit).offset(offset).execute()
    return { rows, total: Number(total.count), limit, offset }
  }

  /** What a tenant's checkpoints take, by project; those of all tenants where none is named. */
  async storage(tenant: string | null, projectId?: string): Promise<readonly StoredBytes[]> {
    let query = this.#db
      .selectFrom('checkpoints')
      .where((eb) => (tenant === null ? isGood(eb) : visible(eb, tenant, 'owned')))
      .innerJoin('runs', 'runs.id', 'checkpoints.run')
      .innerJoin('sessions', 'sessions.id', 'runs.session')
      .groupBy(['checkpoints.tenant', 'sessions.project_id'])
    if (projectId !== undefined) query = query.where('sessions.project_id', '=', projectId)
    const rows = await query
      .select(({ fn }) => [
        'checkpoints.tenant',
        'sessions.project_id',
        fn.countAll<number>().as('count'),
        fn.sum<number>('checkpoints.bytes').as('bytes'),
      ])
      .execute()
    return rows.map((row) => ({
      tenant: row.tenant,
      projectId: row.project_id,
      checkpoints: Number(row.count),
      bytes: Number(row.bytes),
    }))
  }

  /** A run that never came to be is none. */
  #runs(tenant: string, scope: AccessScope) {
    return this.#db
      .selectFrom('runs')
      .innerJoin('sessions', 'sessions.id', 'runs.session')
      .where('runs.state', '!=', 'failed')
      .where(({ eb, or, lit }) => {
        if (scope === 'all') return lit(true)
        const own = eb('runs.tenant', '=', tenant)
        if (scope === 'owned') return own
        return or([own, eb('runs.id', 'in', this.#checkpoints(tenant, 'accessible').select('run'))])
      })
  }

  #checkpoints(tenant: string, scope: AccessScope) {
    return this.#db.selectFrom('checkpoints').where((eb) => visible(eb, tenant, scope))
  }

  async #withLast(tenant: string, runs: readonly Run[]): Promise<RunRecord[]> {
    if (!runs.length) return []
    const ids = this.#checkpoints(tenant, 'accessible')
      .select(({ fn }) => fn.max('id').as('id'))
      .where(
        'run',
        'in',
        runs.map((run) => run.id),
      )
      .groupBy(['run', 'kind'])
    const last = await this.#db.selectFrom('checkpoints').selectAll().where('id', 'in', ids).execute()
    const find = (run: Run, kind: Checkpoint['kind']) => last.find((c) => c.run === run.id && c.kind === kind) ?? null
    return runs.map((run) => ({
      run,
      lastCheckpoint: find(run, 'weights'),
      lastSamplerCheckpoint: find(run, 'sampler_weights'),
    }))
  }
}

function visible(
  builder: ExpressionBuilder<Database, 'checkpoints'>,
  tenant: string,
  scope: AccessScope,
): Expression<SqlBool> {
  const { eb, or, and } = builder
  const own = eb('checkpoints.tenant', '=', tenant)
  const readable = scope === 'owned' ? own : or([own, eb('checkpoints.published', '=', 1)])
  return and([readable, isGood(builder)])
}

/** Its time is not over. */
function isGood({ eb, or }: ExpressionBuilder<Database, 'checkpoints'>): Expression<SqlBool> {
  return or([eb('checkpoints.expires_at', 'is', null), eb('checkpoints.expires_at', '>', Date.now())])
}

/** Within what a database can count; beyond the last row is beyond it anyway. */
export function bounded({ limit, offset }: PageRequest): PageRequest {
  return { limit: Math.min(limit, MAX_LIMIT), offset: Math.min(offset, Number.MAX_SAFE_INTEGER) }
}
