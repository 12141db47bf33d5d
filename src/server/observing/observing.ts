// Puts together what can be seen of a server from outside: metrics, spans, health, status. It changes nothing of what the
// server does.

import { Registry } from 'prom-client'
import type { ServerConfig } from '../config.ts'
import type { Handlers } from '../http/router.ts'
import type { Services } from '../services/services.ts'
import { Health } from './health.ts'
import { OperationMetrics } from './operation-metrics.ts'
import { OperationSpans } from './operation-spans.ts'
import { Progress } from './progress.ts'
import { serverMetrics } from './server-metrics.ts'
import { Status } from './status.ts'

type Observed = 'liveness' | 'health' | 'status' | 'metrics'

export interface Observing {
  /** Series of the HTTP layer belong here. */
  readonly registry: Registry
  readonly handlers: Handlers<Observed>
  close(): void
}

export function observe(services: Services, { stateDir }: ServerConfig, version: string): Observing {
  const { journal, futures, onlookers, tenants, models, queue, db } = services
  const registry = new Registry()
  const named = new Registry()
  serverMetrics(registry, services, stateDir)
  const operations = new OperationMetrics(registry, named)
  const progress = new Progress()
  journal.watch(operations)
  journal.watch(new OperationSpans())
  onlookers.add(operations)
  onlookers.add(progress)
  const health = new Health({ db, stateDir, models, futures })
  const status = new Status({ db, version, models, queue, progress })
  const seesAll = async (key: string | undefined) =>
    tenants.isOpen || (key !== undefined && (await tenants.authenticate(key).catch(() => null))?.role === 'admin')

  const handlers: Handlers<Observed> = {
    liveness: async () => ({ status: 'ok' }),
    health: async () => {
      const problems = await health.problems()
      const isFailing = problems.some(({ isFatal }) => isFatal)
      const told = problems.map(({ code, message, next }) => ({ code, message, next }))
      const status = isFailing ? 'failing' : problems.length ? 'degraded' : 'ok'
      return { status: isFailing ? 503 : 200, json: { status, problems: told } }
    },
    status: async ({ tenant }) => status.of(tenant.role === 'admin' || tenants.isOpen ? null : tenant.id),
    metrics: async ({ request: { headers } }) => {
      const key = headers['x-api-key'] ?? /^Bearer (.+)$/i.exec(headers.authorization ?? '')?.[1]
      const shown = (await seesAll(String(key))) ? [registry, named] : [registry]
      const texts = await Promise.all(shown.map((each) => each.metrics()))
      return { contentType: registry.contentType, bytes: new TextEncoder().encode(texts.join('\n')) }
    },
  }
  return { registry, handlers, close: () => health.close() }
}
