// Looking at runs and checkpoints, and keeping, sharing and ending them, over HTTP and with a second tenant at the door.

import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import sinon from 'sinon'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Json, TestServer } from '../testing/test-server.ts'

const BERT = 'tml-bert'
const HOUR = 3_600_000

let server: TestServer
let session: string
let run: string

beforeEach(async () => {
  server = new TestServer()
  await server.start()
  session = await server.newSession({ project_id: 'p1' })
  run = await server.newModel(session, { user_metadata: { renderer: 'qwen3' } })
})
afterEach(async () => {
  sinon.restore()
  await server.stop()
})

const at = (name: string, kind = 'weights', of = run) => ({ run: of, kind, name })
const folders = () => {
  const parent = join(server.stateDir, 'checkpoints', run.replaceAll(':', '_'), 'weights')
  return existsSync(parent) ? readdirSync(parent) : []
}
const names = (page: Json): string[] => page.checkpoints.map((c: Json) => c.checkpoint_id)

describe('training runs', () => {
  it('are listed newest first in pages, with the total', async () => {
    const second = await server.newModel(session, { model_seq_id: 1 })
    const third = await server.newModel(session, { model_seq_id: 2 })
    const page = await server.call('listTrainingRuns', { query: { limit: 2 } })
    expect(page.training_runs.map((r: Json) => r.training_run_id)).toEqual([third, second])
    expect(page.cursor).toEqual({ offset: 0, limit: 2, total_count: 3 })
    const rest = await server.call('listTrainingRuns', { query: { limit: 2, offset: 2 } })
    expect(rest.training_runs.map((r: Json) => r.training_run_id)).toEqual([run])
    const beyond = await server.call('listTrainingRuns', { query: { offset: 9 } })
    expect(beyond).toMatchObject({ training_runs: [], cursor: { total_count: 3 } })
  })

  it('say what they were made with and what they saved last', async () => {
    await server.save(run, 'a')
    await server.save(run, 'b', { user_metadata: { step: '2' } })
    await server.saveForSampler(run, 's')
    expect(await server.call('getTrainingRun', { params: { run } })).toMatchObject({
      training_run_id: run,
      base_model: 'org/tiny',
      is_lora: true,
      lora_rank: 4,
      corrupted: false,
      user_metadata: { renderer: 'qwen3' },
      last_checkpoint: { tinker_path: `tinker://${run}/weights/b`, user_metadata: { step: '2' } },
      last_sampler_checkpoint: { checkpoint_id: 'sampler_weights/s', checkpoint_type: 'sampler' },
    })
  })

  it('can be asked for by project', async () => {
    const of = (project_id: string) => server.call('listTrainingRuns', { query: { project_id } })
    expect((await of('p1')).cursor.total_count).toBe(1)
    expect((await of('p2')).training_runs).toEqual([])
  })

  it('are not there for another tenant, until one of their checkpoints is published', async () => {
    await server.save(run, 'a')
    await server.save(run, 'b')
    const seen = async (access_scope: string) =>
      (await server.call('listTrainingRuns', { key: BERT, query: { access_scope } })).cursor.total_count
    expect([await seen('owned'), await seen('accessible')]).toEqual([0, 0])
    await server.call('getTrainingRun', { key: BERT, params: { run }, query: { access_scope: 'accessible' } }, 404)
    await server.call('listCheckpoints', { key: BERT, params: { run } }, 404)

    await server.call('publishCheckpoint', { params: at('a') })
    expect([await seen('owned'), await seen('accessible')]).toEqual([0, 1])
    const query = { access_scope: 'accessible' }
    const record = await server.call('getTrainingRun', { key: BERT, params: { run }, query })
    expect(record.last_checkpoint.checkpoint_id).toBe('weights/a')
    await server.call('getTrainingRun', { key: BERT, params: { run } }, 404)
    expect(names(await server.call('listCheckpoints', { key: BERT, params: { run } }))).toEqual(['weights/a'])
  })
})

describe('checkpoints', () => {
  it('are listed newest first, of one run and of the account', async () => {
    await server.save(run, 'a', { ttl_seconds: 3600 })
    await server.saveForSampler(run, 's')
    const other = await server.newModel(session, { model_seq_id: 1 })
    await server.save(other, 'c')
    const page = await server.call('listCheckpoints', { params: { run } })
    expect(names(page)).toEqual(['sampler_weights/s', 'weights/a'])
    expect(page.checkpoints[1]).toMatchObject({ checkpoint_type: 'training', public: false })
    expect(page.checkpoints[1].size_bytes).toBeGreaterThan(0)
    expect(Date.parse(page.checkpoints[1].expires_at) - Date.now()).toBeGreaterThan(HOUR - 60_000)
    const all = await server.call('listUserCheckpoints', { query: { limit: 2 } })
    expect(names(all)).toEqual(['weights/c', 'sampler_weights/s'])
    expect(all.cursor).toEqual({ offset: 0, limit: 2, total_count: 3 })
    expect((await server.call('listUserCheckpoints', { key: BERT })).checkpoints).toEqual([])
  })

  it('are gone with their files when deleted, and a second delete says so', async () => {
    const path = await server.save(run, 'a')
    expect(folders()).toHaveLength(1)
    await server.call('deleteCheckpoint', { params: at('a') })
    expect(folders()).toEqual([])
    expect((await server.call('deleteCheckpoint', { params: at('a') }, 404)).code).toBe('CHECKPOINT_NOT_FOUND')
    await server.call('weightsInfo', { body: { tinker_path: path } }, 404)
    await server.save(run, 'a')
  })

  it('are published twice without harm, read by all, changed by their owner only', async () => {
    const path = await server.saveForSampler(run, 's')
    const s = at('s', 'sampler_weights')
    const bert = await server.newSession({}, BERT)
    const sampler = (seq: number, status?: number) => {
      const body = { session_id: bert, sampling_session_seq_id: seq, model_path: path }
      return server.call('createSamplingSession', { key: BERT, body }, status)
    }
    await sampler(0, 404)
    await server.call('publishCheckpoint', { params: s })
    await server.call('publishCheckpoint', { params: s })
    await sampler(1)
    expect(await server.call('weightsInfo', { key: BERT, body: { tinker_path: path } })).toMatchObject({ lora_rank: 4 })
    const load = { session_id: bert, model_seq_id: 0, path, optimizer: false }
    expect(await server.result('loadWeights', { key: BERT, body: load })).toMatchObject({ model_id: `${bert}:train:0` })

    await server.call('deleteCheckpoint', { key: BERT, params: s }, 404)
    await server.call('unpublishCheckpoint', { key: BERT, params: s }, 404)
    await server.call('setCheckpointTtl', { key: BERT, params: s, body: { ttl_seconds: 3600 } }, 404)
    await server.call('unpublishCheckpoint', { params: s })
    await server.call('unpublishCheckpoint', { params: s })
    await sampler(2, 404)
  })

  it('take a time to live within its bounds, and lose it again', async () => {
    await server.save(run, 'a')
    const set = (ttl_seconds: unknown, status?: number) =>
      server.call('setCheckpointTtl', { params: at('a'), body: { ttl_seconds } }, status)
    const expiry = async () => (await server.call('listCheckpoints', { params: { run } })).checkpoints[0].expires_at
    await set(7200)
    expect(Math.abs(Date.parse(await expiry()) - Date.now() - 2 * HOUR)).toBeLessThan(60_000)
    for (const bad of [3599, 315_360_001, 3600.5, 'long']) await set(bad, 400)
    await set(null)
    expect(await expiry()).toBeNull()
  })

  it('are gone with their files when their time is over', async () => {
    const path = await server.save(run, 'a', { ttl_seconds: 3600 })
    await server.save(run, 'b')
    const later = Date.now() + HOUR + 1000
    sinon.stub(Date, 'now').returns(later)
    expect(names(await server.call('listUserCheckpoints'))).toEqual(['weights/b'])
    await server.call('weightsInfo', { body: { tinker_path: path } }, 404)
    await server.restart()
    expect(folders()).toHaveLength(1)
  })

  it('have no other names and kinds than the path can hold', async () => {
    for (const params of [at('..'), at('a', 'adapters'), at('a/../b'), at('%00')]) {
      const answer = await server.send('deleteCheckpoint', { params })
      expect([400, 404, 405]).toContain(answer.status)
    }
  })
})
