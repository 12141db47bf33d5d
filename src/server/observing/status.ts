// What the server is doing, for `twinkle ps`: models, runs, what waits, samplers, memory. Of one tenant, or of all. It asks
// whoever knows; nothing is kept here but when the server began.

import type { Kysely } from 'kysely'
import type { Schemas } from '../../generated/operations.ts'
import type { BaseModels } from '../services/base-models.ts'
import type { Queue } from '../services/queue.ts'
import type { Database } from '../store/schema.ts'
import type { Progress } from './progress.ts'

export interface StatusParts {
  readonly db: Kysely<Database>
  readonly version: string
  readonly models: BaseModels
  readonly queue: Queue
  readonly progress: Progress
}

const RUNS = 50
const SAMPLERS = 20
const OPERATIONS = 100
/** Of the samplers that drew last, among whom a tenant's own are looked for. */
const LOOKED_AT = 500

export class Status {
  readonly #parts: StatusParts
  readonly #begin = Date.now()
  constructor(parts: StatusParts) {
    this.#parts = parts
  }

  /** @param tenant Null: of all tenants. */
  async of(tenant: string | null): Promise<Schemas['ServerStatus']> {
    const { queue, version } = this.#parts
    const { lines, operations } = queue.snapshot({ limit: OPERATIONS, ...(tenant !== null && { tenant }) })
    const models = await this.#models(lines)
    return {
      version,
      uptime_seconds: (Date.now() - this.#begin) / 1000,
      scope: tenant === null ? 'all' : 'own',
      memory: {
        api_bytes: process.memoryUsage.rss(),
        engine_bytes: models.reduce((sum, { resident_bytes }) => sum + (resident_bytes ?? 0), 0),
      },
      models,
      runs: await this.#runs(tenant),
      operations: operations.map((standing) => ({
        request_id: standing.requestId,
        tenant: standing.tenant,
        base_model: standing.baseModel,
        kind: standing.kind,
        state: standing.state,
        position: standing.position,
        reason: standing.reason,
        estimate_seconds: standing.estimateMs === null ? null : standing.estimateMs / 1000,
      })),
      waiting_operations: lines.reduce((sum, { waiting }) => sum + waiting, 0),
      samplers: await this.#samplers(tenant),
    }
  }

  async #models(lines: ReturnType<Queue['snapshot']>['lines']): Promise<Schemas['ModelStatus'][]> {
    const { models } = this.#parts
    return Promise.all(
      models.names().map(async (name) => {
        const { engine } = models.get(name)
        const isRestarting = models.isRestarting(name)
        const numbers = isRestarting ? null : await engine?.status().catch(() => null)
        return {
          name,
          backend: models.backend(name),
          engine: isRestarting ? 'restarting' : engine ? 'open' : 'elsewhere',
          resident_bytes: numbers?.rssBytes ?? null,
          adapters: numbers?.adapters ?? null,
          snapshots: numbers?.snapshots ?? null,
          lines: lines
            .filter(({ baseModel }) => baseModel === name)
            .map(({ kind, running, waiting, tenants, tokensPerSecond }) => ({
              kind,
              running,
              waiting,
              tenants,
              tokens_per_second: tokensPerSecond,
            })),
        }
      }),
    )
  }

  async #runs(tenant: string | null): Promise<Schemas['RunStatus'][]> {
    const { db, progress } = this.#parts
    const query = db
      .selectFrom('runs')
      .select(['id', 'tenant', 'base_model', 'rank', 'last_request_at'])
      .where('state', 'in', ['creating', 'ready'])
      .orderBy('last_request_at', 'desc')
      .limit(RUNS)
    const rows = await (tenant === null ? query : query.where('tenant', '=', tenant)).execute()
    return rows.map(({ last_request_at, ...row }) => {
      const { step, loss, tokensPerSecond } = progress.ofRun(row.id)
      return { ...row, step, loss, tokens_per_second: tokensPerSecond, idle_seconds: secondsSince(last_request_at) }
    })
  }

  async #samplers(tenant: string | null): Promise<Schemas['SamplerStatus'][]> {
    const { db, progress } = this.#parts
    const latest = new Map(progress.samplers().slice(0, LOOKED_AT))
    if (latest.size === 0) return []
    const query = db
      .selectFrom('sampling_sessions')
      .select(['id', 'tenant', 'base_model', 'model_path as path'])
      .where('id', 'in', [...latest.keys()])
    const rows = await (tenant === null ? query : query.where('tenant', '=', tenant)).execute()
    return rows
      .flatMap((row) => {
        const seen = latest.get(row.id)
        if (!seen) return []
        const { sequences, tokensPerSecond, lastAt } = seen
        return [{ ...row, sequences, tokens_per_second: tokensPerSecond, idle_seconds: secondsSince(lastAt) }]
      })
      .sort((a, b) => a.idle_seconds - b.idle_seconds)
      .slice(0, SAMPLERS)
  }
}

const secondsSince = (time: number) => Math.max(0, (Date.now() - time) / 1000)
