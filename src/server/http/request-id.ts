// Gives every request an id: the caller's own from x-request-id where it is a harmless one, a new one otherwise.

import { randomUUID } from 'node:crypto'
import type { HttpMiddleware } from './state.ts'

/** Ends up in logs and headers: nothing but letters, digits, ".", "_" and "-". */
const HARMLESS = /^[\w.-]{1,64}$/

export function requestId(): HttpMiddleware {
  return async function giveRequestId(ctx, next) {
    const given = ctx.get('x-request-id')
    ctx.state.requestId = HARMLESS.test(given) ? given : randomUUID()
    ctx.set('x-request-id', ctx.state.requestId)
    await next()
  }
}
