// What an account asks about itself, over HTTP, with a second tenant at the door.

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
