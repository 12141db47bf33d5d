// The way of a request as spans, with a real tracing SDK that keeps them in memory.

import { context, propagation, trace } from '@opentelemetry/api'
import {
  InMemorySpanExporter,
  NodeTracerProvider,
  type ReadableSpan,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-node'
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { TestServer } from '../testing/test-server.ts'

const TRACE = '0af7651916cd43dd8448eb211c80319c'
const CLIENT = `00-${TRACE}-b7ad6b7169203331-01`

const spans = new InMemorySpanExporter()
const server = new TestServer()

beforeAll(async () => {
  new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] }).register()
  await server.start()
})
beforeEach(() => spans.reset())
afterAll(async () => {
  await server.stop()
  trace.disable()
  context.disable()
  propagation.disable()
})

const byName = () => new Map(spans.getFinishedSpans().map((span) => [span.name, span]))
const parentOf = (span: ReadableSpan | undefined) => span?.parentSpanContext?.spanId
const idOf = (span: ReadableSpan | undefined) => span?.spanContext().spanId

it('belong to the trace of the client, from the request to the result', async () => {
  const session_id = await server.newSession()
  spans.reset()
  const body = { session_id, model_seq_id: 0, base_model: 'org/tiny', lora_config: { rank: 4 } }
  const { request_id } = await server.call('createModel', { body, headers: { traceparent: CLIENT } })
  await server.call('retrieveFuture', { body: { request_id } })
  const found = byName()
  expect([...found.keys()].sort()).toEqual(['createModel', 'create_model', 'journal append', 'retrieveFuture', 'wait'])
  const submission = found.get('createModel')
  expect(submission?.spanContext().traceId).toBe(TRACE)
  expect(submission?.attributes).toMatchObject({ 'twinkle.operation.id': request_id, 'http.response.status_code': 200 })
  for (const name of ['journal append', 'wait', 'create_model']) {
    expect(found.get(name)?.spanContext().traceId, name).toBe(TRACE)
    expect(parentOf(found.get(name)), name).toBe(idOf(submission))
  }
  expect(found.get('retrieveFuture')?.attributes['twinkle.operation.id']).toBe(request_id)
})

it('hold no key and no path', async () => {
  await server.newSession()
  const text = JSON.stringify(spans.getFinishedSpans().map(({ name, attributes }) => ({ name, attributes })))
  expect(text).toContain('createSession')
  expect(text).not.toContain('tml-')
  expect(text).not.toContain('/api/')
})

it('say with which code an operation failed', async () => {
  const session_id = await server.newSession()
  const model_id = await server.newModel(session_id)
  await server.save(model_id, 'a')
  spans.reset()
  const { request_id } = await server.call('saveWeights', { body: { model_id, path: 'a' } })
  await server.call('retrieveFuture', { body: { request_id } })
  expect(byName().get('save_weights')?.status.message).toBe('CHECKPOINT_EXISTS')
})
