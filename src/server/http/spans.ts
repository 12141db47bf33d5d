// A span for each request, within the trace that the client says it is part of (W3C trace context). It is the active span
// while the request is worked on, so whatever is made meanwhile belongs to it. No headers, no bodies, no paths: ids of
// clients are in them, and the route says enough.

import { context, propagation, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import type { HttpMiddleware } from './state.ts'

export function httpSpans(): HttpMiddleware {
  const tracer = trace.getTracer('twinkle-ts')
  return async function traceRequest(ctx, next) {
    const parent = propagation.extract(context.active(), ctx.req.headers)
    await tracer.startActiveSpan(ctx.method, { kind: SpanKind.SERVER }, parent, async (span) => {
      try {
        await next()
      } finally {
        const { operation, requestId, tenant, future } = ctx.state
        if (operation) span.updateName(operation)
        span.setAttributes({
          'http.request.method': ctx.method,
          'http.response.status_code': ctx.status,
          'twinkle.request.id': requestId,
          ...(operation && { 'twinkle.route': operation }),
          ...(tenant && { 'twinkle.tenant': tenant }),
          ...(future && { 'twinkle.operation.id': future }),
        })
        if (ctx.status >= 500) span.setStatus({ code: SpanStatusCode.ERROR })
        span.end()
      }
    })
  }
}
