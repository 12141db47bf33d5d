// copy_weights over HTTP: a copy stands by itself, and a repeated request makes one.

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { TestServer } from '../testing/test-server.ts'

const BERT = 'tml-bert'
let server: TestServer
let session: string
let run: string
let source: string

beforeEach(async () => {
  server = new TestServer()
  await server.start()
  session = await server.newSession()
  run = await server.newModel(session)
  source = await server.save(run, 'a', { ttl_seconds: 3600, user_metadata: { step: '1' } })
})
afterEach(() => server.stop())

interface Copy {
  readonly key?: string
  readonly once?: string
  readonly status?: number
}

const copy = async (body: Record<string, unknown>, { key, once, status }: Copy = {}) => {
  const headers = once === undefined ? {} : { 'x-idempotency-key': once }
  const sent = { ...(key && { key }), headers, body: { source_path: source, ...body } }
  const answer = await server.call('copyWeights', sent, status)
  return answer.tinker_path ?? answer.code
}
const checkpointsOf = (path: string, key?: string) => {
  const [, of = ''] = /^tinker:\/\/([^/]+)/.exec(path) ?? []
  return server.call('listCheckpoints', { ...(key && { key }), params: { run: of } })
}

describe('a copy', () => {
  it('into a session takes the number of a model there: who asks for it after hears so', async () => {
    const path = await copy({ session_id: session, model_seq_id: 7 })
    expect(path).toContain(`${session}:train:7/`)
    const body = { session_id: session, model_seq_id: 7, base_model: 'org/tiny', type: 'create_model' }
    expect((await server.call('createModel', { body }, 400)).code).toBe('SEQ_CONFLICT')
  })

  it('is of the same kind and name, in a run of the project, without the source’s end', async () => {
    const path = await copy({ destination_project_id: 'p2' })
    expect(path).toMatch(/^tinker:\/\/[^/]+:train:0\/weights\/a$/)
    expect((await checkpointsOf(path)).checkpoints).toMatchObject([
      { tinker_path: path, expires_at: null, public: false, user_metadata: { step: '1' } },
    ])
    const page = await server.call('listTrainingRuns', { query: { project_id: 'p2' } })
    expect(page.training_runs).toHaveLength(1)
  })

  it('outlives its source, and can be resumed with the optimiser', async () => {
    const path = await copy({ session_id: session, model_seq_id: 7 })
    expect(path).toBe(`tinker://${session}:train:7/weights/a`)
    await server.call('deleteCheckpoint', { params: { run, kind: 'weights', name: 'a' } })
    const body = { session_id: session, model_seq_id: 8, path, optimizer: true }
    expect(await server.result('loadWeights', { body })).toMatchObject({ model_id: `${session}:train:8` })
    expect(await server.send('optimStep', { body: { model_id: `${session}:train:7`, seq_id: 1 } })).toMatchObject({
      status: 410,
    })
    expect(await copy({ session_id: session, model_seq_id: 7, source_path: path }, { status: 400 })).toBe(
      'SEQ_CONFLICT',
    )
  })

  it('is made once for one key, also when two requests come together', async () => {
    const body = { destination_project_id: 'p2', ttl_seconds: 3600 }
    const paths = await Promise.all([1, 2, 3].map(() => copy(body, { once: 'k1' })))
    expect(new Set([...paths, await copy(body, { once: 'k1' })]).size).toBe(1)
    expect(await copy({ destination_project_id: 'p3' }, { once: 'k1', status: 400 })).toBe('SEQ_CONFLICT')
    expect(await copy(body, { once: 'k2' })).not.toBe(paths[0])
    expect((await server.call('listTrainingRuns', { query: { project_id: 'p2' } })).cursor.total_count).toBe(2)
  })

  it('is for those who may read the source, and belongs to them', async () => {
    const body = { destination_project_id: 'p2' }
    expect(await copy(body, { key: BERT, status: 404 })).toBe('CHECKPOINT_NOT_FOUND')
    await server.call('publishCheckpoint', { params: { run, kind: 'weights', name: 'a' } })
    const path = await copy(body, { key: BERT, once: 'k' })
    expect((await checkpointsOf(path, BERT)).checkpoints).toHaveLength(1)
    await server.call('weightsInfo', { body: { tinker_path: path } }, 404)
    await copy({ session_id: session, model_seq_id: 3 }, { key: BERT, status: 404 })
    expect(await copy(body, { once: 'k' })).not.toBe(path)
  })

  it.each([
    [{}, 'INVALID_BODY'],
    [{ session_id: 's' }, 'INVALID_BODY'],
    [{ destination_project_id: 'p', session_id: 's', model_seq_id: 0 }, 'INVALID_BODY'],
    [{ destination_project_id: 'p', ttl_seconds: 60 }, 'INVALID_TTL'],
    [{ destination_project_id: 'p', source_path: 'tinker://x' }, 'INVALID_TINKER_PATH'],
  ])('is not made of %j', async (body, code) => {
    expect(await copy(body, { status: 400 })).toBe(code)
  })
})
