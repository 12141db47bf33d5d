// HTTP in numbers for Prometheus: durations by operation and status, requests and body bytes at this moment. Operations are
// named by their id, never by the path, which holds ids of clients.

import { Gauge, Histogram, type Registry } from 'prom-client'
import type { BodyBudget } from './body-budget.ts'
import type { HttpMiddleware } from './state.ts'

/** Seconds. Long polls are held for up to about 30. */
const BUCKETS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100]

export function httpMetrics(registry: Registry, budget: BodyBudget): HttpMiddleware {
  const registers = [registry]
  const duration = new Histogram({
    name: 'twinkle_http_request_duration_seconds',
    help: 'Time from request to answer.',
    labelNames: ['operation', 'status'] as const,
    buckets: BUCKETS,
    registers,
  })
  const open = new Gauge({ name: 'twinkle_http_requests_open', help: 'Requests being answered.', registers })
  new Gauge({
    name: 'twinkle_http_body_bytes',
    help: 'Bytes of request bodies in memory.',
    registers,
    collect() {
      this.set(budget.used)
    },
  })
  return async function countRequest(ctx, next) {
    open.inc()
    const stop = duration.startTimer()
    try {
      await next()
    } finally {
      open.dec()
      stop({ operation: ctx.state.operation ?? 'none', status: String(ctx.status) })
    }
  }
}
