// Management routes of Twinkle's protocol on a whole server: sessions, runs and checkpoints of either protocol, health.

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { TestServer } from '../testing/test-server.ts'

const server = new TestServer()
let run: string

beforeAll(async () => {
  await server.start()
  run = await server.newModel(await server.newSession())
  await server.save(run, 'a')
  await server.saveForSampler(run, 'b')
})
afterAll(() => server.stop())

const at = (run_id: string, kind: string, name: string) => ({ run_id, kind, name })

describe('a session', () => {
  it('has the form of Twinkle’s, keeps what it was opened with, and is kept by heartbeats', async () => {
    const { session_id } = await server.call('twinkleCreateSession', { body: { metadata: { team: 'a' } } })
    expect(session_id).toMatch(/^session_[0-9a-f]{32}$/)
    expect(await server.call('twinkleSessionHeartbeat', { body: { session_id } })).toEqual({})
    const seen = await server.call('searchSessions', { body: { session_id } })
    expect(seen.sessions[0]).toMatchObject({ user_metadata: { team: 'a' } })
  })

  it('that nobody has opened, or that is over, is not found: a 410 would end the loop of a script', async () => {
    const unknown = await server.call('twinkleSessionHeartbeat', { body: { session_id: 'session_0' } }, 404)
    expect(unknown.detail).toContain('session_0')
    const { session_id } = await server.call('twinkleCreateSession', { body: {} })
    await server.call('finishSession', { params: { session_id }, body: { reason: { type: 'success' } } })
    expect(await server.call('twinkleSessionHeartbeat', { body: { session_id } }, 404)).toMatchObject({
      code: 'SESSION_OVER',
    })
  })
})

describe('runs and checkpoints', () => {
  it('are those of either protocol', async () => {
    const { training_runs, cursor } = await server.call('twinkleListRuns')
    expect(cursor).toEqual({ limit: 20, offset: 0, total_count: 1 })
    expect(training_runs[0]).toMatchObject({ training_run_id: run, base_model: 'org/tiny', lora_rank: 4 })
    expect(training_runs[0].last_checkpoint.twinkle_path).toBe(`twinkle://${run}/weights/a`)
    expect(await server.call('twinkleGetRun', { params: { run_id: run } })).toEqual(training_runs[0])
  })

  it('never tell a key', async () => {
    const { training_runs } = await server.call('twinkleListRuns', { key: 'tml-anna' })
    expect(JSON.stringify(training_runs)).not.toContain('tml-anna')
  })

  it('are listed from the oldest to the newest checkpoint', async () => {
    const { checkpoints } = await server.call('twinkleListCheckpoints', { params: { run_id: run } })
    expect(checkpoints.map((c: { checkpoint_id: string }) => c.checkpoint_id)).toEqual([
      'weights/a',
      'sampler_weights/b',
    ])
    expect(checkpoints.map((c: { checkpoint_type: string }) => c.checkpoint_type)).toEqual(['training', 'sampler'])
  })

  it.each(['twinkle', 'tinker'])('are found by a path of %s', async (scheme) => {
    const body = { twinkle_path: `${scheme}://${run}/weights/a` }
    expect(await server.call('twinkleWeightsInfo', { body })).toMatchObject({
      training_run_id: run,
      base_model: 'org/tiny',
      is_lora: true,
      lora_rank: 4,
    })
    const tinker = await server.call('weightsInfo', { body: { tinker_path: body.twinkle_path } })
    expect(tinker).toMatchObject({ base_model: 'org/tiny', lora_rank: 4 })
  })

  it('have a path that is no place on the disk', async () => {
    const path = `twinkle://${run}/weights/a`
    expect(await server.call('twinkleCheckpointPath', { params: at(run, 'weights', 'a') })).toEqual({
      path,
      twinkle_path: path,
    })
  })

  it('can be deleted, once', async () => {
    const path = await server.save(run, 'gone')
    const params = at(run, 'weights', 'gone')
    expect(await server.call('twinkleDeleteCheckpoint', { params })).toMatchObject({ success: true })
    await server.call('weightsInfo', { body: { tinker_path: path } }, 404)
    await server.call('twinkleDeleteCheckpoint', { params }, 404)
    await server.call('twinkleGetRun', { params: { run_id: 'nope' } }, 404)
    await server.call('twinkleDeleteCheckpoint', { params: at(run, 'adapters', 'gone') }, 400)
  })

  it('of all users are for admins', async () => {
    const answer = await server.call('twinkleListRuns', { query: { all_users: 'true' } }, 403)
    expect(answer.code).toBe('ADMINS_ONLY')
  })

  it('refuse a page that is none, in the form that Twinkle’s clients show', async () => {
    const answer = await server.call('twinkleListRuns', { query: { limit: -1 } }, 422)
    expect(answer.detail).toContain('limit must be at least 0')
  })
})

describe('the server', () => {
  it('says that it is well, without a key, as a whole and by model', async () => {
    expect(await server.call('twinkleDeepHealth')).toEqual({
      healthy: true,
      models: { 'org/tiny': { healthy: true, status_code: 200 } },
    })
    expect(await server.call('modelHealthz', { params: { base: 'org/tiny' } })).toMatchObject({ healthy: true })
    const open = await fetch(`${server.url}/server/healthz`)
    expect(await open.json()).toEqual({ status: 'ok' })
  })

  it('names its models, and how much there is', async () => {
    expect(await server.call('twinkleCapabilities')).toEqual({ supported_models: [{ model_name: 'org/tiny' }] })
    const capacity = await server.call('twinkleCapacity')
    expect(capacity).toMatchObject({ used_loras: 1, free_loras: capacity.max_loras - 1 })
    expect((await server.call('twinkleStatus')).resources).toMatchObject({ models: 1, futures: 0 })
  })

  it('answers by the older prefix as well, with a key in any header', async () => {
    for (const header of ['twinkle-authorization', 'authorization', 'x-api-key']) {
      const headers = { [header]: header === 'x-api-key' ? 'tml-anna' : 'Bearer tml-anna' }
      const answer = await fetch(`${server.url}/server/training_runs`, { headers })
      expect(((await answer.json()) as { cursor: unknown }).cursor).toMatchObject({ total_count: 1 })
    }
  })
})
