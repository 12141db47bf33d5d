// What an account asks about itself, over HTTP, with a second tenant at the door.

import sinon from 'sinon'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Json, TestServer } from '../testing/test-server.ts'

const BERT = 'tml-bert'
let server: TestServer
let session: string
let run: string

beforeEach(async () => {
  server = new TestServer()
  await server.start()
  session = await server.newSession({ project_id: 'p1' })
  run = await server.newModel(session)
})
afterEach(() => server.stop())

describe('a token', () => {
  const claimsOf = (jwt: string) => JSON.parse(Buffer.from(jwt.split('.')[1] ?? '', 'base64url').toString())

  it('stands for its key for an hour, and is not exchanged for another', async () => {
    const { jwt } = await server.call('authToken', { body: {} })
    const claims = claimsOf(jwt)
    expect(claims.exp - claims.iat).toBe(3600)
    expect(claims).toMatchObject({ sub: expect.any(String), org_id: expect.any(String), email: expect.any(String) })
    const { sessions } = await server.call('listSessions', { key: jwt })
    expect(sessions).toEqual([session])
    await server.call('authToken', { key: jwt, body: {} }, 401)
    await server.restart()
    expect((await server.call('listSessions', { key: jwt })).sessions).toEqual([session])
    const later = Date.now() + 3_600_000
    sinon.stub(Date, 'now').returns(later)
    const over = await server.send('listSessions', { key: jwt })
    sinon.restore()
    expect([over.status, over.headers.get('www-authenticate')]).toEqual([401, 'ApiKey error="invalid_token"'])
  })

  it('is nobody’s when it was tampered with', async () => {
    const { jwt } = await server.call('authToken', { key: BERT, body: {} })
    const [header, , signature] = jwt.split('.')
    const anna = claimsOf((await server.call('authToken', { body: {} })).jwt)
    const forged = Buffer.from(JSON.stringify(anna)).toString('base64url')
    const none = Buffer.from('{"alg":"none","typ":"JWT"}').toString('base64url')
    for (const key of [`${header}.${forged}.${signature}`, `${none}.${forged}.`, `${header}.${forged}`]) {
      // Without configured keys any text is a key of its own; it is never Anna's.
      expect((await server.call('listSessions', { key })).sessions).toEqual([])
    }
  })
})

describe('an account', () => {
  it('learns which key it uses, not what the key is', async () => {
    const own = await server.call('getCurrentApiKey')
    expect(own).toEqual(await server.call('getCurrentApiKey'))
    expect((await server.call('getCurrentApiKey', { key: BERT })).key_id).not.toBe(own.key_id)
    expect(JSON.stringify(own)).not.toContain('anna')
  })

  it('learns what its checkpoints take, by project', async () => {
    await server.save(run, 'a')
    const other = await server.newModel(await server.newSession())
    await server.save(other, 'a')
    await server.save(other, 'b')
    const of = (query: Record<string, string> = {}, key?: string) =>
      server.call('getCurrentCheckpointStorage', { query, ...(key && { key }) })
    const { data } = await of()
    const counts = data.map((row: Json) => [row.project_id, row.checkpoint_count])
    expect(new Map(counts)).toEqual(
      new Map<string | null, number>([
        ['p1', 1],
        [null, 2],
      ]),
    )
    expect((await of({ project_id: 'p1' })).data).toMatchObject([{ project_id: 'p1', checkpoint_count: 1 }])
    expect((await of({}, BERT)).data).toEqual([])
  })

  it('finds its tokens in the ledger, those of failed work left out', async () => {
    const datum = (tokens: number[]) => ({
      model_input: { chunks: [{ tokens }] },
      loss_fn_inputs: { target_tokens: { data: tokens, dtype: 'int64' } },
    })
    const data = [datum([1, 2, 3]), datum([4, 5])]
    const pass = (seq_id: number) =>
      server.result('forwardBackward', {
        body: { model_id: run, seq_id, forward_backward_input: { data, loss_fn: 'cross_entropy' } },
      })
    await pass(1)
    await pass(2)
    server.backend.engines[0]!.failNext('train')
    expect(await pass(3)).toMatchObject({ category: 'server' })
    const open = { session_id: session, sampling_session_seq_id: 0, base_model: 'org/tiny' }
    const { sampling_session_id } = await server.call('createSamplingSession', { body: open })
    const prompt = { chunks: [{ tokens: [1, 2, 3, 4] }] }
    const sampling_params = { max_tokens: 6, stop: [] }
    await server.result('asample', {
      body: { sampling_session_id, seq_id: 0, num_samples: 2, prompt, sampling_params },
    })

    const now = Date.now()
    const span = {
      starting_on: new Date(now - 7_200_000).toISOString(),
      ending_before: new Date(now + 1).toISOString(),
    }
    const used = async (key?: string) => server.call('getBillingUsageEvents', { query: span, ...(key && { key }) })
    const { data: events, sessions } = await used()
    const sums = new Map<string, number>()
    for (const { event_info, ...row } of events) {
      expect(row).toMatchObject({ session_id: session, project_id: 'p1', base_model: 'org/tiny' })
      sums.set(event_info.type, (sums.get(event_info.type) ?? 0) + event_info.token_count)
    }
    expect(Object.fromEntries(sums)).toEqual({ training: 10, sampling_prefill: 4, sampling_sample: 12 })
    expect(Object.keys(sessions)).toEqual([session])
    expect((await used(BERT)).data).toEqual([])
    const later = { starting_on: '2100-01-01T00:00:00Z', ending_before: '2101-01-01T00:00:00Z' }
    expect((await server.call('getBillingUsageEvents', { query: later })).data).toEqual([])
  })

  it('finds what it saved and how long that lay there in the ledger', async () => {
    await server.save(run, 'a')
    const { data: stored } = await server.call('getCurrentCheckpointStorage', {})
    await server.save(run, 'b')
    const now = Date.now()
    const later = sinon.stub(Date, 'now').returns(now + 7_200_000)
    const query = { starting_on: '2020-01-01T00:00:00Z', ending_before: '2100-01-01T00:00:00Z' }
    const { data } = await server.call('getBillingUsageEvents', { query })
    later.restore()
    const infos = data.map((row: Json) => row.event_info)
    expect(infos.filter(({ type }: Json) => type === 'checkpoint')).toEqual([{ type: 'checkpoint', count: 2 }])
    const hours = infos.filter(({ type }: Json) => type === 'storage').map((info: Json) => info.gigabyte_hours)
    expect(hours.length).toBeGreaterThanOrEqual(2)
    const sum = hours.reduce((a: number, b: number) => a + b, 0)
    expect(sum / ((2 * 2 * stored[0].size_bytes) / 1e9)).toBeCloseTo(1, 2)
  })

  it('finds in its log what was done to its checkpoints and projects, by day and kind', async () => {
    const params = { run, kind: 'weights', name: 'a' }
    const path = await server.save(run, 'a')
    await server.call('publishCheckpoint', { params })
    await server.call('setCheckpointTtl', { params, body: { ttl_seconds: 7200 } })
    await server.call('deleteCheckpoint', { key: BERT, params }, 404)
    await server.call('deleteCheckpoint', { params })
    await server.call('assignSessionProject', { params: { session_id: session }, body: { project_id: 'p2' } })
    const log = async (query: Record<string, string> = {}, key?: string) =>
      (await server.call('getAuditLog', { query, ...(key && { key }) })).entries
    const events = (entries: Json) => entries.map((entry: Json) => entry.event)
    const checkpoints = ['checkpoint_publish', 'checkpoint_set_ttl', 'checkpoint_delete']
    expect(events(await log())).toEqual([...checkpoints, 'project_assign_session'])
    expect(events(await log({ event_type: 'checkpoints' }))).toEqual(checkpoints)
    expect(events(await log({ event_type: 'teams' }))).toEqual([])
    expect((await log())[1]).toMatchObject({ tinker_path: path, event_details: { ttl_seconds: 7200 } })
    expect(await log({ day: '2020-01-31' })).toEqual([])
    expect(events(await log({ day: new Date().toISOString().slice(0, 10) }))).toHaveLength(4)
    expect(await log({}, BERT)).toEqual([])
    await server.call('getAuditLog', { query: { day: 'yesterday' } }, 400)
  })
})
