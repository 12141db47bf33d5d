// Samples that are cancelled, heard of together, or too large to send unasked; and clients that join a sampling session.

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Json, TestServer } from '../testing/test-server.ts'

const BERT = 'tml-bert'
let server: TestServer
let session: string
let sampler: string

beforeEach(async () => {
  server = new TestServer()
  await server.start()
  session = await server.newSession()
  const body = { session_id: session, sampling_session_seq_id: 0, base_model: 'org/tiny' }
  sampler = (await server.call('createSamplingSession', { body })).sampling_session_id
})
afterEach(() => server.stop())

async function sample(seq_id: number, changes: Record<string, unknown> = {}): Promise<string> {
  const body = {
    sampling_session_id: sampler,
    seq_id,
    prompt: { chunks: [{ tokens: [1, 2] }] },
    sampling_params: { max_tokens: 2, stop: [] },
    ...changes,
  }
  return (await server.call('asample', { body })).request_id
}
const future = (request_id: string, more: Record<string, unknown> = {}) =>
  server.call('retrieveFuture', { body: { request_id, ...more } })
const engine = () => server.backend.engines.at(-1)!

const events = async (prev_cursor: number, more: Record<string, unknown> = {}, target: Record<string, unknown> = {}) =>
  server.call('retrieveFutures', {
    body: { target: { type: 'sampling_session', sampling_session_id: sampler, ...target }, prev_cursor, ...more },
  })
const ids = (answer: Json): string[] => answer.completions.map((c: Json) => c.request_id)

describe('a cancelled sample', () => {
  it('leaves the engine at once, and its future says so', async () => {
    const gate = engine().block('generate')
    const id = await sample(0)
    await gate.entered
    expect((await engine().status()).sampling).toBe(1)
    await server.call('cancelFuture', { body: { request_id: id } })
    expect(await future(id)).toMatchObject({ category: 'user', code: 'CANCELLED' })
    expect((await engine().status()).sampling).toBe(0)
    gate.open()
  })

  it('can only be cancelled by its owner, and not after its end', async () => {
    const gate = engine().block('generate')
    const id = await sample(0)
    const cancel = (key?: string, status?: number) =>
      server.call('cancelFuture', { ...(key && { key }), body: { request_id: id } }, status)
    await cancel(BERT, 404)
    await server.call('cancelFuture', { body: { request_id: 'req-1' } }, 404)
    gate.open()
    expect((await future(id)).sequences).toHaveLength(1)
    await cancel()
    expect((await future(id)).sequences).toHaveLength(1)
  })

  it('is something that the SDK is told it can ask for', async () => {
    expect(await server.call('clientDynamicConfig', { body: {} })).toMatchObject({ sample_cancel_enabled: true })
  })

  it('is never a training operation: those keep their place', async () => {
    const model_id = await server.newModel(session)
    const gate = engine().block('optimStep')
    const { request_id } = await server.call('optimStep', { body: { model_id, seq_id: 1 } })
    await gate.entered
    await server.call('cancelFuture', { body: { request_id } })
    gate.open()
    expect(await future(request_id)).toMatchObject({ metrics: { applied: 0 } })
  })
})

describe('the poll of a sampling session', () => {
  it('tells each end once, in the order of the cursor', async () => {
    const first = await sample(0)
    await future(first)
    const one = await events(0)
    expect(one.completions).toEqual([{ request_id: first, state: 'finished' }])
    expect((await events(one.cursor, { timeout: 0 })).completions).toEqual([])
    const second = await sample(1)
    const two = await events(one.cursor)
    expect(ids(two)).toEqual([second])
    expect(two.cursor).toBeGreaterThan(one.cursor)
    expect(ids(await events(one.cursor, { timeout: 0, retrieved_request_ids: [first] }))).toEqual([second])
  })

  it('waits, and is woken by what ends, failures too', async () => {
    const gate = engine().block('generate')
    const id = await sample(0)
    await gate.entered
    const { cursor } = await events(0, { timeout: 0 })
    const waiting = events(cursor)
    await server.call('cancelFuture', { body: { request_id: id } })
    expect((await waiting).completions).toEqual([{ request_id: id, state: 'failed' }])
    gate.open()
  })

  it('tells each client of a copied sampler of its own samples', async () => {
    const own = await sample(5)
    const copied = await sample(3_000_000_001)
    await Promise.all([future(own), future(copied)])
    expect(ids(await events(0, {}, { cloned_sampler_id: 0 }))).toEqual([own])
    expect(ids(await events(0, {}, { cloned_sampler_id: 3 }))).toEqual([copied])
    expect(ids(await events(0)).sort()).toEqual([own, copied].sort())
  })

  it('goes on with an old cursor after a restart', async () => {
    const before = await sample(0)
    await future(before)
    const { cursor } = await events(0)
    await server.restart()
    const after = await sample(1)
    await future(after)
    const answer = await events(cursor)
    expect(ids(answer)).toContain(after)
    expect(answer.cursor).toBeGreaterThan(cursor)
  })

  it('is for the owner of the sampling session', async () => {
    const target = { type: 'sampling_session', sampling_session_id: sampler }
    await server.call('retrieveFutures', { key: BERT, body: { target, prev_cursor: 0, timeout: 0 } }, 404)
  })
})

describe('a client that joins a sampling session', () => {
  it('gets a number of its own, also after a restart', async () => {
    const join = async () =>
      (await server.call('joinSamplingSession', { body: { sampling_session_id: sampler } })).client_counter
    expect((await Promise.all([join(), join(), join()])).sort()).toEqual([1, 2, 3])
    await server.restart()
    expect(await join()).toBe(4)
    await server.call('joinSamplingSession', { key: BERT, body: { sampling_session_id: sampler } }, 404)
  })
})

describe('a large result', () => {
  it('is announced with its size to those who ask so, and then sent', async () => {
    const params = { max_tokens: 500, stop: [] }
    const id = await sample(0, { num_samples: 6, sampling_params: params, topk_sample_logprobs: 64 })
    const announced = await future(id, { allow_metadata_only: true })
    expect(announced).toMatchObject({ status: 'complete_metadata' })
    expect(announced.response_payload_size).toBeGreaterThan(2 ** 20)
    expect((await future(id, { allow_metadata_only: false })).sequences).toHaveLength(6)
    const small = await sample(1)
    expect((await future(small, { allow_metadata_only: true })).sequences).toHaveLength(1)
  })
})
