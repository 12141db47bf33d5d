// Operations in numbers for Prometheus, from what the journal writes down: how many, how long they waited, how long they
// took, how many went together. Kinds are few; tenants may be many, so only the first ones get a name.

import { Counter, Histogram, type Registry } from 'prom-client'
import type { Onlooker } from '../services/onlookers.ts'
import type { Finished, JournalWatcher, NewOperation, StartedOperation } from '../store/journal.ts'

/** Seconds. A sample may take minutes, and wait for hours. */
const BUCKETS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000]
const APPEND_BUCKETS = [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1]
const BATCH_BUCKETS = [1, 2, 4, 8, 16, 32, 64, 128, 256]
/** Beyond these a tenant is `other`: every label is memory here and in the collector. */
const NAMED_TENANTS = 200

interface Running {
  readonly kind: string
  readonly since: number
}

export class OperationMetrics implements JournalWatcher, Onlooker {
  readonly #running = new Map<string, Running>()
  readonly #tenants = new Set<string>()
  readonly #submitted
  readonly #append
  readonly #wait
  readonly #duration
  readonly #batch
  readonly #tokens

  /** @param named For series that name tenants. */
  constructor(registry: Registry, named: Registry) {
    const registers = [registry]
    this.#submitted = new Counter({
      name: 'twinkle_operations_submitted_total',
      help: 'Operations acknowledged.',
      labelNames: ['kind'] as const,
      registers,
    })
    this.#append = new Histogram({
      name: 'twinkle_journal_append_seconds',
      help: 'Time until an operation was durable.',
      buckets: APPEND_BUCKETS,
      registers,
    })
    this.#wait = new Histogram({
      name: 'twinkle_operation_wait_seconds',
      help: 'From acknowledgement to the engine.',
      labelNames: ['kind'] as const,
      buckets: BUCKETS,
      registers,
    })
    this.#duration = new Histogram({
      name: 'twinkle_operation_duration_seconds',
      help: 'From the engine to the durable result. outcome: done, user (refused for its own fault) or server.',
      labelNames: ['kind', 'outcome'] as const,
      buckets: BUCKETS,
      registers,
    })
    this.#batch = new Histogram({
      name: 'twinkle_batch_operations',
      help: 'Operations that were started together.',
      labelNames: ['kind'] as const,
      buckets: BATCH_BUCKETS,
      registers,
    })
    this.#tokens = new Counter({
      name: 'twinkle_tokens_total',
      help: `Tokens in the ledger, by tenant (the first ${NAMED_TENANTS}, then "other") and kind.`,
      labelNames: ['tenant', 'kind'] as const,
      registers: [named],
    })
  }

  appended(_id: string, { kind }: NewOperation, ms: number): void {
    this.#submitted.inc({ kind })
    this.#append.observe(ms / 1000)
  }

  started(operations: readonly StartedOperation[]): void {
    const [first] = operations
    if (!first) return
    this.#batch.observe({ kind: first.kind }, operations.length)
    const now = Date.now()
    for (const { id, kind, created_at } of operations) {
      this.#wait.observe({ kind }, Math.max(0, now - created_at) / 1000)
      this.#running.set(id, { kind, since: performance.now() })
    }
  }

  finished({ id, error }: Finished): void {
    const running = this.#running.get(id)
    if (!running) return
    this.#running.delete(id)
    const outcome = error?.category ?? 'done'
    this.#duration.observe({ kind: running.kind, outcome }, (performance.now() - running.since) / 1000)
  }

  /** Tokens that the ledger has. */
  used({ tenant, kind, tokens }: Parameters<Required<Onlooker>['used']>[0]): void {
    if (this.#tenants.size < NAMED_TENANTS) this.#tenants.add(tenant)
    this.#tokens.inc({ tenant: this.#tenants.has(tenant) ? tenant : 'other', kind }, tokens)
  }
}
