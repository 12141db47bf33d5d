// Looking at sessions over HTTP, with a second tenant at the door.

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { problemWithAnswer } from '../../../openapi/answers.ts'
import { type Json, TestServer } from '../testing/test-server.ts'

const BERT = 'tml-bert'
let server: TestServer

beforeEach(async () => {
  server = new TestServer()
  await server.start()
})
afterEach(() => server.stop())

const found = async (body: Record<string, unknown>, key?: string): Promise<string[]> => {
  const answer = await server.call('searchSessions', { ...(key && { key }), body })
  return answer.sessions.map((s: Json) => s.session_id)
}

describe('a session', () => {
  it('says what it holds', async () => {
    const id = await server.newSession({ user_metadata: { k: { deep: 1 } }, display_name: 'first light' })
    const run = await server.newModel(id)
    const body = { session_id: id, sampling_session_seq_id: 0, base_model: 'org/tiny' }
    const { sampling_session_id } = await server.call('createSamplingSession', { body })
    expect(await server.call('getSession', { params: { session_id: id } })).toEqual({
      training_run_ids: [run],
      sampler_ids: [sampling_session_id],
      user_metadata: { k: { deep: 1 } },
      display_name: 'first light',
    })
    expect(await server.call('getSampler', { params: { sampler_id: sampling_session_id } })).toMatchObject({
      base_model: 'org/tiny',
    })
  })

  it('is not there for another tenant, by whatever way', async () => {
    const id = await server.newSession({ project_id: 'p1' })
    for (const access_scope of ['owned', 'accessible']) {
      const asked = { key: BERT, params: { session_id: id }, query: { access_scope } }
      expect((await server.call('getSession', asked, 404)).code).toBe('UNKNOWN_SESSION')
      expect((await server.call('listSessions', { key: BERT, query: { access_scope } })).sessions).toEqual([])
    }
    const body = { project_id: 'p2' }
    await server.call('assignSessionProject', { key: BERT, params: { session_id: id }, body }, 404)
    expect(await found({ session_id: id, owner: { type: 'accessible' } }, BERT)).toEqual([])
    const [own] = (await server.call('searchSessions', { body: {} })).sessions
    expect(await found({ owner: { type: 'user', owner_urns: [own.owner] } }, BERT)).toEqual([])
    expect(await found({ owner: { type: 'user', owner_urns: [own.owner] } })).toEqual([id])
    expect(own.project_id).toBe('p1')
  })

  it('moves into a project and out of it, with its runs', async () => {
    const id = await server.newSession()
    await server.newModel(id)
    const runs = async () => (await server.call('listTrainingRuns', { query: { project_id: 'p' } })).cursor.total_count
    const assign = (project_id: string | null) =>
      server.call('assignSessionProject', { params: { session_id: id }, body: { project_id } })
    expect(await runs()).toBe(0)
    await assign('p')
    expect(await runs()).toBe(1)
    await assign(null)
    expect(await runs()).toBe(0)
  })
})

describe('the trace of a session', () => {
  it('comes by an address that needs no key, with a span for each operation', async () => {
    const id = await server.newSession()
    const model_id = await server.newModel(id)
    await server.result('optimStep', { body: { model_id, seq_id: 1 } })
    const { status, url } = await server.call('exportSessionTrace', { params: { session_id: id } })
    expect(status).toBe('ready')
    const answer = await fetch(url)
    const trace = (await answer.json()) as Json
    expect(problemWithAnswer('downloadTrace', answer.status, trace)).toBeUndefined()
    const begun = trace.traceEvents.filter((event: Json) => event.ph === 'b').map((event: Json) => event.name)
    expect(begun).toEqual(['create_model', 'in the engine', 'optim_step', 'in the engine'])
    expect(trace.traceEvents).toHaveLength(8)
    expect(trace.otherData).toMatchObject({ session: id, left_out: 0 })
    expect((await fetch(url.replace(id, await server.newSession()))).status).toBe(403)
    await server.call('exportSessionTrace', { key: BERT, params: { session_id: id } }, 404)
  })
})

describe('many sessions', () => {
  it('are listed newest first, in pages', async () => {
    const ids: string[] = []
    for (let i = 0; i < 3; i++) ids.unshift(await server.newSession())
    // Sessions of one millisecond stand in the order of their ids.
    const all = (await server.call('listSessions')).sessions
    expect([...all].sort()).toEqual([...ids].sort())
    expect((await server.call('listSessions', { query: { limit: 2 } })).sessions).toEqual(all.slice(0, 2))
    expect((await server.call('listSessions', { query: { limit: 2, offset: 2 } })).sessions).toEqual(all.slice(2))
    expect((await server.call('listSessions', { query: { offset: 1e300 } })).sessions).toEqual([])
  })

  it('are found by project, name, metadata and status', async () => {
    const a = await server.newSession({ project_id: 'p1', display_name: 'First Light', user_metadata: { x: [1] } })
    const b = await server.newSession({ project_id: 'p2', user_metadata: { x: { a: 1, b: 2 }, y: null } })
    const c = await server.newSession({ display_name: 'light' })
    await server.call('finishSession', { params: { session_id: c }, body: { reason: { type: 'errored' } } })
    const sorted = async (body: Record<string, unknown>) => (await found(body)).sort()
    expect(await found({ project_ids: ['p1', 'p3'] })).toEqual([a])
    expect(await sorted({ display_name: 'LIGHT' })).toEqual([a, c].sort())
    expect(await sorted({ display_name: 'light first' })).toEqual([a])
    expect(await sorted({ display_name: 'first', session_id: c })).toEqual([a, c].sort())
    expect(await found({ user_metadata: { x: [1] } })).toEqual([a])
    expect(await found({ user_metadata: { x: { b: 2, a: 1 }, y: null } })).toEqual([b])
    expect(await found({ user_metadata: { z: null } })).toEqual([])
    expect(await sorted({ statuses: [{ type: 'active' }] })).toEqual([a, b].sort())
    expect(await found({ statuses: [{ type: 'client_finished', reasons: ['errored'] }] })).toEqual([c])
    expect(await found({ statuses: [{ type: 'client_finished', reasons: ['success'] }] })).toEqual([])
    expect(await found({ statuses: [{ type: 'failed' }] })).toEqual([])
    const [record] = (await server.call('searchSessions', { body: { session_id: c } })).sessions
    expect(record.status).toMatchObject({ type: 'client_finished', reason: { type: 'errored' } })
  })

  it('are found page by page, each once, with what their checkpoints take', async () => {
    const ids: string[] = []
    for (let i = 0; i < 5; i++) ids.push(await server.newSession({ display_name: `n${i % 2}` }))
    const run = await server.newModel(ids[0] as string)
    await server.save(run, 'a')
    const pages: Json[] = []
    let cursor: unknown = null
    do {
      const page = await server.call('searchSessions', { body: { limit: 2, cursor } })
      pages.push(page.sessions)
      cursor = page.next_cursor
    } while (cursor)
    expect(pages.map((page) => page.length)).toEqual([2, 2, 1])
    const all = pages.flat()
    expect(all.map((s: Json) => s.session_id).sort()).toEqual([...ids].sort())
    const sums = all.map((s: Json) => s.checkpoints_count)
    expect([...sums].sort()).toEqual([0, 0, 0, 0, 1])
    expect(all.find((s: Json) => s.session_id === ids[0]).checkpoint_storage_bytes).toBeGreaterThan(0)
    const bad = { cursor: { last_created_at: 'never', last_session_id: 'x' } }
    await server.call('searchSessions', { body: bad }, 400)
  })
})
