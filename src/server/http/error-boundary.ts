// The one place where what was thrown becomes an answer: JSON with an explicit length, since the SDK takes a 400 without
// one for a proxy's. Outside of it stand only the request id, the access log and the metrics. What each error means is in
// errors.ts; a protocol that writes errors in a form of its own says so where the app is put together.

import { type ServiceError, toServiceError } from '../errors.ts'
import type { HttpMiddleware } from './state.ts'

const RETRY_AFTER_SECONDS = 1

/** The body of an answer that failed. */
export type ErrorShape = (error: ServiceError, requestId: string) => unknown

/** @param shapeOf How errors of an operation are written, where that is not as in Tinker's protocol. */
export function errorBoundary(
  shapeOf: (operation: string) => ErrorShape | undefined = () => undefined,
): HttpMiddleware {
  return async function answerErrors(ctx, next) {
    try {
      await next()
    } catch (thrown) {
      const error = toServiceError(thrown)
      ctx.state.error = error
      if (ctx.headerSent) {
        ctx.res.destroy()
        return
      }
      ctx.status = error.status
      if (error.status === 429 || error.status === 503) ctx.set('retry-after', String(RETRY_AFTER_SECONDS))
      // On this the SDK exchanges its key for a new token and sends the request once more; other 401s are final.
      if (error.code === 'TOKEN_OVER') ctx.set('www-authenticate', 'ApiKey error="invalid_token"')
      const shape = shapeOf(ctx.state.operation ?? '') ?? tinkerShape
      ctx.type = 'application/json'
      ctx.body = Buffer.from(JSON.stringify(shape(error, ctx.state.requestId)))
    }
  }
}

const tinkerShape: ErrorShape = ({ message, code, next }, requestId) => {
  const body = { detail: message, code, request_id: requestId }
  return next === '' ? body : { ...body, next }
}
