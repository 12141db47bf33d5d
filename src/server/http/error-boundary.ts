// The one place where what was thrown becomes an answer: JSON with an explicit length, since the SDK takes a 400 without
// one for a proxy's. Outside of it stand only the request id, the access log and the metrics. What each error means is in
// errors.ts.

import { toServiceError } from '../errors.ts'
import type { HttpMiddleware } from './state.ts'

const RETRY_AFTER_SECONDS = 1

export function errorBoundary(): HttpMiddleware {
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
      const body = { detail: error.message, code: error.code, request_id: ctx.state.requestId }
      ctx.type = 'application/json'
      ctx.body = Buffer.from(JSON.stringify(error.next === '' ? body : { ...body, next: error.next }))
    }
  }
}
