// The Koa app of a server, from its parts. Importing it has no effect; nothing here listens.

import Koa from 'koa'
import type { Logger } from 'pino'
import type { Registry } from 'prom-client'
import { operations, type RoutedOperationId } from '../generated/operations.ts'
import type { ServerConfig } from './config.ts'
import { accessLog } from './http/access-log.ts'
import { BodyBudget } from './http/body-budget.ts'
import { errorBoundary } from './http/error-boundary.ts'
import { httpMetrics } from './http/metrics.ts'
import { requestId } from './http/request-id.ts'
import { createRouter, type Handlers } from './http/router.ts'
import type { RequestState } from './http/state.ts'
import type { Services } from './services/services.ts'
import { tinkerHandlers } from './tinker/handlers.ts'
import { refusedNumbers } from './tinker/refused.ts'

export interface AppParts {
  readonly config: ServerConfig
  readonly services: Services
  /** Handlers of the operator's routes: liveness, metrics, hub files. */
  readonly operator: Handlers<RoutedOperationId<'operator'>>
  readonly registry: Registry
  readonly log: Logger
}

export function createApp({ config, services, operator, registry, log }: AppParts): Koa<RequestState> {
  const app = new Koa<RequestState>()
  const budget = new BodyBudget(config.bytesInFlight)
  app.use(requestId())
  app.use(accessLog(log))
  app.use(httpMetrics(registry, budget))
  app.use(errorBoundary())
  app.use(
    createRouter(
      operations,
      { ...tinkerHandlers(services), ...operator },
      {
        authenticate: (key) => services.tenants.authenticate(key),
        budget,
        maxBodyBytes: config.bodyLimitBytes,
        maxJsonBytes: config.bodyLimitBytes,
        onRefused: refusedNumbers(services),
      },
    ),
  )
  app.on('error', (err) => log.error({ err }, 'an answer could not be sent'))
  return app
}
