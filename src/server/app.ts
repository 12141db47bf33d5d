// The Koa app of a server, from its parts. Importing it has no effect; nothing here listens.

import Koa from 'koa'
import type { Logger } from 'pino'
import type { Registry } from 'prom-client'
import { type Operation, operations, type RoutedOperationId } from '../generated/operations.ts'
import type { ServerConfig } from './config.ts'
import { serviceError } from './errors.ts'
import { accessLog } from './http/access-log.ts'
import { BodyBudget } from './http/body-budget.ts'
import { lettingIn } from './http/crowd.ts'
import { type ErrorShape, errorBoundary } from './http/error-boundary.ts'
import { httpMetrics } from './http/metrics.ts'
import { requestId } from './http/request-id.ts'
import { createRouter, type Handlers } from './http/router.ts'
import { httpSpans } from './http/spans.ts'
import type { RequestState } from './http/state.ts'
import { openAiError } from './openai/errors.ts'
import { openAiHandlers } from './openai/handlers.ts'
import type { Services } from './services/services.ts'
import { tinkerHandlers } from './tinker/handlers.ts'
import { checkReader } from './tinker/readers.ts'
import { refusedNumbers } from './tinker/refused.ts'
import { twinkleHandlers } from './twinkle/handlers.ts'

/** Parsed JSON takes many times its bytes; SDKs that send tensors as JSON cut them at 5 MB. */
const MAX_JSON_BYTES = 32 * 2 ** 20

export interface AppParts {
  readonly config: ServerConfig
  readonly services: Services
  /** Handlers of what is beside the protocols: liveness, metrics, hub files, adapters. */
  readonly operator: Handlers<RoutedOperationId<'operator' | 'adapters'>>
  readonly registry: Registry
  readonly log: Logger
  /** True from the moment in which the server is told to end. */
  readonly isClosing: () => boolean
}

export function createApp({ config, services, operator, registry, log, isClosing }: AppParts): Koa<RequestState> {
  const app = new Koa<RequestState>()
  const budget = bodyBudget(config)
  app.use(requestId())
  app.use(accessLog(log))
  app.use(httpSpans())
  app.use(httpMetrics(registry, budget))
  app.use(lettingIn())
  app.use(errorBoundary(errorShapeOf))
  app.use(async function refuseWhenClosing(_, next) {
    if (isClosing()) throw serviceError('SHUTTING_DOWN')
    await next()
  })
  app.use(
    createRouter(
      operations,
      { ...tinkerHandlers(services), ...twinkleHandlers(services), ...openAiHandlers(services), ...operator },
      {
        authenticate: async (key) => (await services.weightsAccess.bearer(key)) ?? services.tenants.authenticate(key),
        authorize: checkReader,
        budget,
        maxBodyBytes: config.bodyLimitBytes,
        maxJsonBytes: Math.min(config.bodyLimitBytes, MAX_JSON_BYTES),
        onRefused: refusedNumbers(services),
      },
    ),
  )
  // Clients that went away; what goes wrong here is the error boundary's.
  app.on('error', (err) => log.debug({ err }, 'an answer could not be sent'))
  return app
}

/** Clients of OpenAI read errors in a form of their own. */
function errorShapeOf(operation: string): ErrorShape | undefined {
  const table: Readonly<Record<string, Operation>> = operations
  return table[operation]?.document === 'openai' ? openAiError : undefined
}

/** Half of it for one tenant; whatever that is, one body of the largest size must fit, which takes twice its bytes. */
function bodyBudget({ bytesInFlight, bodyLimitBytes }: ServerConfig): BodyBudget {
  const share = Math.max(bytesInFlight / 2, Math.min(bytesInFlight, 2 * bodyLimitBytes))
  return new BodyBudget(bytesInFlight, share)
}
