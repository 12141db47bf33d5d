// One line for each request. Long polls and heartbeats come all the time, so what went well is `debug`; refusals are `info`,
// our own faults `error`, with the cause that the caller is not told. Headers and bodies are never logged: keys are in them.

import type { Logger } from 'pino'
import type { HttpMiddleware } from './state.ts'

export function accessLog(log: Logger, now: () => number = () => performance.now()): HttpMiddleware {
  return async function logAccess(ctx, next) {
    const start = now()
    await next()
    const { requestId, operation, tenant, future, error, bytesIn } = ctx.state
    const line = {
      request: requestId,
      method: ctx.method,
      path: ctx.path,
      operation,
      tenant,
      // The lines about the operation have it too, long after this request.
      future,
      status: ctx.status,
      ms: Math.round(now() - start),
      bytesIn,
      bytesOut: ctx.length,
      code: error?.code,
    }
    if (error?.category === 'server') log.error({ ...line, err: error.cause ?? error }, error.message)
    else if (error) log.info(line, error.message)
    else log.debug(line, 'done')
  }
}
