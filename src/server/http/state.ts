// What the middlewares of one request tell each other: Koa's `ctx.state`, typed. Knows nothing of how it is filled.

import type { Next, ParameterizedContext } from 'koa'
import type { ServiceError } from '../errors.ts'

export interface RequestState {
  /** In the header x-request-id, in errors and in the log. */
  requestId: string
  /** operationId of the matched route, planned ones included. */
  operation?: string
  tenant?: string
  /** The operation that it submitted, or asked for. */
  future?: string
  /** What the request failed with. */
  error?: ServiceError
  /** Bytes of the body as received. */
  bytesIn?: number
}

export type HttpContext = ParameterizedContext<RequestState>
export type HttpMiddleware = (ctx: HttpContext, next: Next) => Promise<void>
