// Weights access tokens over HTTP: what one opens, to whom, and for how long; and that it opens nothing else.

import sinon from 'sinon'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { Keys } from '../services/keys.ts'
import { TenantRecords } from '../services/tenant-records.ts'
import { openDatabase } from '../store/database.ts'
import { TestServer } from '../testing/test-server.ts'

const BERT = 'tml-bert'
const server = new TestServer()
let run: string
let path: string
let other: string
let session: string
let ownRun: string
let seq = 0
let model = 1

beforeAll(async () => {
  await server.start()
  run = await server.newModel(await server.newSession())
  path = await server.save(run, 'a')
  other = await server.save(run, 'b')
  session = await server.newSession({}, BERT)
  ownRun = await server.newModel(session, {}, BERT)
})
afterAll(() => server.stop())

afterEach(() => sinon.restore())

const tokenOf = async (name: string, ttl_seconds?: number): Promise<string> =>
  (await server.call('createWeightsAccessToken', { params: { run, kind: 'weights', name }, body: { ttl_seconds } }))
    .token

/** Each way in which a token is sent with a request, as Bert: gives the code of a refusal, or what was made. */
const WAYS = {
  'a new model': (from: string, token?: string) =>
    attempt('loadWeights', { session_id: session, model_seq_id: model++, path: from, weights_access_token: token }),
  'a live model': (from: string, token?: string) =>
    attempt('loadWeights', {
      model_id: ownRun,
      seq_id: ++seq,
      path: from,
      weights_access_token: token,
      optimizer: true,
    }),
  'a copy': (from: string, token?: string) =>
    attempt('copyWeights', { source_path: from, destination_project_id: 'p' }, token),
}

async function attempt(id: 'loadWeights' | 'copyWeights', body: object, header?: string) {
  const headers = header === undefined ? {} : { 'x-tinker-weights-access-token': header }
  const answer = await server.send(id, { key: BERT, body, headers })
  const json = (await answer.json()) as { code?: string; request_id?: string; tinker_path?: string }
  if (!answer.ok) return [answer.status, json.code]
  const { request_id } = json
  if (request_id === undefined) return json.tinker_path
  const result = await server.call('retrieveFuture', { key: BERT, body: { request_id } })
  return result.error ?? result.model_id ?? result.path
}

describe.each(Object.entries(WAYS))('a token for %s', (_, way) => {
  it('opens the checkpoint that it was made for, and no other', async () => {
    const token = await tokenOf('a')
    expect(await way(path, token)).toEqual(expect.any(String))
    expect(await way(other, token)).toEqual([403, 'WEIGHTS_TOKEN_REFUSED'])
    expect(await way(path)).toEqual([404, 'CHECKPOINT_NOT_FOUND'])
  })

  it('is refused when it is over, made up or another tenant’s; the owner’s own key opens what the owner may read', async () => {
    const token = await tokenOf('a', 60)
    for (const wrong of ['tml-made-up', 'eyJhbGciOiJIUzI1NiJ9.e30.c2ln', BERT, `${token}x`]) {
      expect(await way(path, wrong)).toEqual([403, 'WEIGHTS_TOKEN_REFUSED'])
    }
    expect(await way(path, 'tml-anna')).toEqual(expect.any(String))
    const then = Date.now() + 61_000
    sinon.stub(Date, 'now').returns(then)
    expect(await way(path, token)).toEqual([403, 'WEIGHTS_TOKEN_REFUSED'])
  })
})

describe('making a token', () => {
  it('is for owners, with a life between a minute and a month, and leaves a trace in the audit log', async () => {
    const sent = { params: { run, kind: 'weights', name: 'a' }, body: {} }
    expect((await server.call('createWeightsAccessToken', { ...sent, key: BERT }, 404)).code).toBe(
      'CHECKPOINT_NOT_FOUND',
    )
    for (const ttl_seconds of [0, 59, 31 * 86_400 + 1]) {
      const refusal = await server.call('createWeightsAccessToken', { ...sent, body: { ttl_seconds } }, 400)
      expect(refusal.code).toBe('INVALID_TOKEN_LIFE')
    }
    const { expires } = await server.call('createWeightsAccessToken', sent)
    expect(Date.parse(expires) - Date.now()).toBeGreaterThan(86_000_000)
    const { entries } = await server.call('getAuditLog', {})
    expect(entries).toContainEqual(expect.objectContaining({ event: 'checkpoint_share', tinker_path: path }))
  })
})

describe('a token in the place of a key', () => {
  it('asks weights_info of its checkpoint, as old SDKs do, and is refused everything else', async () => {
    const key = await tokenOf('a')
    const info = await server.call('weightsInfo', { key, body: { tinker_path: path } })
    expect(info).toMatchObject({ base_model: 'org/tiny', lora_rank: 4 })
    await server.call('weightsInfo', { key, body: { tinker_path: other } }, 404)
    await server.call('clientConfig', { key, body: { sdk_version: '0.18.2' } })
    const { session_id } = await server.call('createSession', { key, body: {} })
    const body = { session_id, model_seq_id: 0, base_model: 'org/tiny' }
    expect((await server.call('createModel', { key, body }, 403)).code).toBe('READER_KEY')
    for (const id of ['listUserCheckpoints', 'getCurrentApiKey', 'listSessions'] as const) {
      expect((await server.call(id, { key }, 403)).code).toBe('READER_KEY')
    }
    const params = { run, kind: 'weights', name: 'a' }
    expect((await server.call('deleteCheckpoint', { key, params }, 403)).code).toBe('READER_KEY')
    expect((await server.call('createWeightsAccessToken', { key, params, body: {} }, 403)).code).toBe('READER_KEY')
  })
})

it('a token ends with the key that made it', async () => {
  const guarded = new TestServer()
  await guarded.start()
  const db = await openDatabase(guarded.place)
  try {
    const keys = new Keys(db)
    const { id: tenant } = await new TenantRecords(db).findOrCreate('anna')
    const make = () => keys.create({ tenant, label: '', role: 'member', expiresAt: null }, 'operator')
    const [first, second] = [await make(), await make()]
    const { key } = first
    const model = await guarded.newModel(await guarded.newSession({}, key), {}, key)
    const saved = await guarded.result('saveWeights', { key, body: { model_id: model, path: 'a' } })
    const sent = { params: { run: model, kind: 'weights', name: 'a' }, body: {} }
    const [ended, stays] = [
      await guarded.call('createWeightsAccessToken', { ...sent, key }),
      await guarded.call('createWeightsAccessToken', { ...sent, key: second.key }),
    ]
    await keys.revoke(first.id, 'operator')
    const info = { body: { tinker_path: saved.path } }
    expect((await guarded.call('weightsInfo', { ...info, key: ended.token }, 401)).code).toBe('WRONG_KEY')
    expect(await guarded.call('weightsInfo', { ...info, key: stays.token })).toMatchObject({ lora_rank: 4 })
  } finally {
    await db.destroy()
    await guarded.stop()
  }
})
