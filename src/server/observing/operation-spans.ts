// OpenTelemetry spans of an operation after its request was answered: written to the journal, waiting, carried out. They
// belong to the trace of the request that submitted it. Without an SDK (docs/guides/operate.md) there is no active span, and
// nothing is kept. Calls, keys and texts are never in a span.

import { type Context, context, type Link, type Span, SpanStatusCode, trace } from '@opentelemetry/api'
import type { Finished, JournalWatcher, NewOperation, StartedOperation } from '../store/journal.ts'

/** Of operations that have not ended; more are carried out untraced. */
const MOST = 100_000
/** Of a span to the others that went to the engine with it. */
const MOST_LINKS = 32

interface Traced {
  /** Of the request that submitted it. */
  readonly parent: Context
  span?: Span
}

export class OperationSpans implements JournalWatcher {
  readonly #traced = new Map<string, Traced>()
  readonly #tracer = trace.getTracer('twinkle-ts')

  appended(id: string, { kind, subject }: NewOperation, ms: number): void {
    if (!trace.getActiveSpan() || this.#traced.size >= MOST) return
    const parent = context.active()
    const attributes = { 'twinkle.operation.id': id, 'twinkle.operation.kind': kind, ...about(subject) }
    trace.getActiveSpan()?.setAttributes(attributes)
    this.#tracer.startSpan('journal append', { startTime: Date.now() - ms, attributes }, parent).end()
    this.#traced.set(id, { parent })
  }

  started(operations: readonly StartedOperation[]): void {
    const links: Link[] = []
    for (const { id, kind, created_at } of operations) {
      const traced = this.#traced.get(id)
      if (!traced) continue
      const attributes = { 'twinkle.operation.id': id, 'twinkle.batch.size': operations.length }
      // An operation that lost its engine starts again.
      if (!traced.span) this.#tracer.startSpan('wait', { startTime: created_at, attributes }, traced.parent).end()
      traced.span?.end()
      traced.span = this.#tracer.startSpan(kind, { attributes, links: links.slice(0, MOST_LINKS) }, traced.parent)
      links.push({ context: traced.span.spanContext() })
    }
  }

  finished({ id, error }: Finished): void {
    const { span } = this.#traced.get(id) ?? {}
    this.#traced.delete(id)
    if (!span) return
    if (error) span.setStatus({ code: SpanStatusCode.ERROR, message: error.code })
    span.end()
  }
}

const about = (subject: string | null) => (subject === null ? {} : { 'twinkle.subject': subject })
