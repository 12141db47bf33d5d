// A tenant that knows all ids of another one goes through every operation with them. It learns nothing and changes nothing.
// The table is typed by the document: an operation without a row does not compile.

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { RoutedOperationId } from '../generated/operations.ts'
import { type Json, type Sent, TestServer } from './testing/test-server.ts'

const ANNA = 'tml-anna'
const BERT = 'tml-bert'

interface Ids {
  readonly session: string
  readonly run: string
  readonly path: string
  readonly sampler: string
  readonly future: string
  /** Bert's own. */
  readonly ownSession: string
  readonly ownRun: string
}

type Attack = (ids: Ids) => Sent
/** Null: the operation takes no id and tells nothing of tenants. */
type Attacks = { readonly [K in RoutedOperationId<'tinker'>]: readonly Attack[] | null }

const of =
  (body: (ids: Ids) => unknown): Attack =>
  (ids) => ({ body: body(ids) })
const checkpoint: Attack = ({ run }) => ({ params: { run, kind: 'weights', name: 'a' } })
const scopes: readonly Attack[] = [
  ({ run, session }) => ({ params: { run, session_id: session }, query: { access_scope: 'owned' } }),
  ({ run, session }) => ({ params: { run, session_id: session }, query: { access_scope: 'accessible' } }),
]
const prompt = { chunks: [{ tokens: [1, 2] }] }
const target_tokens = { data: [2, 3], dtype: 'int64' }
const input = { data: [{ model_input: prompt, loss_fn_inputs: { target_tokens } }], loss_fn: 'cross_entropy' }
const sampling = { prompt, sampling_params: { max_tokens: 1 } }

const CUSTOM_LOSS = {
  custom_loss_seq_id: 0,
  name: 'mine',
  inputs: [{ name: 'logprobs', rank: 1 }],
  graph: { format: 1, nodes: [] },
}

const ATTACKS: Attacks = {
  authToken: null,
  clientConfig: null,
  clientDynamicConfig: null,
  healthz: null,
  getServerCapabilities: null,
  reportTelemetry: [of(({ session }) => ({ events: [], session_id: session }))],
  createSession: null,
  sessionHeartbeat: [of(({ session }) => ({ session_id: session }))],
  finishSession: [({ session }) => ({ params: { session_id: session }, body: { reason: { type: 'errored' } } })],
  listSessions: scopes,
  getSession: scopes,
  searchSessions: [
    of(({ session }) => ({ session_id: session })),
    of(() => ({ owner: { type: 'accessible' } })),
    of(() => ({ project_ids: ['secret'] })),
  ],
  exportSessionTrace: [({ session }) => ({ params: { session_id: session } })],
  assignSessionProject: [({ session }) => ({ params: { session_id: session }, body: { project_id: 'mine' } })],
  createModel: [of(({ session }) => ({ session_id: session, model_seq_id: 5, base_model: 'org/tiny' }))],
  getInfo: [of(({ run }) => ({ model_id: run }))],
  unloadModel: [of(({ run }) => ({ model_id: run }))],
  forwardBackward: [of(({ run }) => ({ model_id: run, seq_id: 1, forward_backward_input: input }))],
  forward: [of(({ run }) => ({ model_id: run, seq_id: 1, forward_input: input }))],
  createCustomLoss: [of(({ session }) => ({ session_id: session, ...CUSTOM_LOSS }))],
  optimStep: [of(({ run }) => ({ model_id: run, seq_id: 1 }))],
  createSamplingSession: [
    of(({ session }) => ({ session_id: session, sampling_session_seq_id: 9, base_model: 'org/tiny' })),
    of(({ ownSession, path }) => ({ session_id: ownSession, sampling_session_seq_id: 1, model_path: path })),
  ],
  joinSamplingSession: [of(({ sampler }) => ({ sampling_session_id: sampler }))],
  getSampler: [({ sampler }) => ({ params: { sampler_id: sampler } })],
  asample: [
    of(({ sampler }) => ({ ...sampling, sampling_session_id: sampler, seq_id: 0 })),
    of(({ path }) => ({ ...sampling, model_path: path })),
  ],
  retrieveFuture: [of(({ future }) => ({ request_id: future }))],
  retrieveFutures: [
    of(({ sampler }) => ({
      target: { type: 'sampling_session', sampling_session_id: sampler },
      prev_cursor: 0,
      timeout: 0,
    })),
  ],
  cancelFuture: [of(({ future }) => ({ request_id: future }))],
  saveWeights: [of(({ run }) => ({ model_id: run, path: 'stolen', seq_id: 1 }))],
  saveWeightsForSampler: [
    of(({ run }) => ({ model_id: run, path: 'stolen', seq_id: 1 })),
    of(({ run }) => ({ model_id: run, sampling_session_seq_id: 7, seq_id: 1 })),
  ],
  saveWeightsExternal: [of(({ run }) => ({ model_id: run, path: 'stolen', seq_id: 1 }))],
  loadWeights: [
    of(({ ownRun, path }) => ({ model_id: ownRun, seq_id: 1, path, optimizer: false })),
    of(({ ownSession, path }) => ({ session_id: ownSession, model_seq_id: 3, path })),
    of(({ session, path }) => ({ session_id: session, model_seq_id: 3, path })),
    of(({ run, path }) => ({ model_id: run, seq_id: 1, path })),
  ],
  copyWeights: [
    of(({ path }) => ({ source_path: path, destination_project_id: 'mine' })),
    of(({ path, session }) => ({ source_path: path, session_id: session, model_seq_id: 4 })),
  ],
  weightsInfo: [of(({ path }) => ({ tinker_path: path }))],
  listTrainingRuns: [...scopes, () => ({ query: { project_id: 'secret' } })],
  getTrainingRun: scopes,
  listCheckpoints: [checkpoint],
  listUserCheckpoints: [() => ({})],
  deleteCheckpoint: [checkpoint],
  getCheckpointArchive: [checkpoint],
  getExternalWeightsUrls: [checkpoint],
  publishCheckpoint: [checkpoint],
  unpublishCheckpoint: [checkpoint],
  setCheckpointTtl: [(ids) => ({ ...checkpoint(ids), body: { ttl_seconds: 3600 } })],
  getBillingUsageEvents: [
    () => ({ query: { starting_on: '2020-01-01T00:00:00Z', ending_before: '2100-01-01T00:00:00Z' } }),
  ],
  getAuditLog: [() => ({})],
  getCurrentCheckpointStorage: [() => ({}), () => ({ query: { project_id: 'secret' } })],
  getCurrentApiKey: [() => ({})],
  // What it does to the caller's own key, tenants.test.ts holds: here it would end Bert's attacks.
  revokeCurrentApiKey: null,
}

const server = new TestServer()
let ids: Ids
let before: Json

beforeAll(async () => {
  await server.start()
  const session = await server.newSession({ project_id: 'secret', display_name: 'secret', tags: ['secret'] })
  const run = await server.newModel(session, { user_metadata: { secret: 'secret' } })
  const path = await server.save(run, 'a', { user_metadata: { secret: 'secret' } })
  const open = { session_id: session, sampling_session_seq_id: 0, base_model: 'org/tiny' }
  const { sampling_session_id } = await server.call('createSamplingSession', { body: open })
  const { request_id } = await server.call('asample', { body: { ...sampling, sampling_session_id, seq_id: 0 } })
  await server.call('retrieveFuture', { body: { request_id } })
  await server.call('setCheckpointTtl', {
    params: { run, kind: 'weights', name: 'a' },
    body: { ttl_seconds: 7200 },
  })
  const ownSession = await server.newSession({}, BERT)
  const ownRun = await server.newModel(ownSession, {}, BERT)
  ids = { session, run, path, sampler: sampling_session_id, future: request_id, ownSession, ownRun }
  before = await stateOf(ids)
})
afterAll(() => server.stop())

/** Everything that Anna can see of her things. */
async function stateOf({ session, run }: Ids): Promise<Json> {
  const asked = { key: ANNA, params: { session_id: session, run } }
  return {
    session: await server.call('getSession', asked),
    sessions: await server.call('searchSessions', { key: ANNA, body: {} }),
    run: await server.call('getTrainingRun', asked),
    checkpoints: await server.call('listCheckpoints', asked),
    runs: await server.call('listTrainingRuns', asked),
  }
}

const attacks = Object.entries(ATTACKS).flatMap(([id, list]) =>
  (list ?? []).map((attack, i) => ({ id: id as RoutedOperationId<'tinker'>, attack, form: i + 1 })),
)

describe('a hostile tenant', () => {
  it.each(attacks)('gets nothing by $id (form $form)', async ({ id, attack }) => {
    const answer = await server.send(id, { ...attack(ids), key: BERT })
    const text = await answer.text()
    // A 400 would mean that the attack was malformed and proves nothing.
    expect([200, 404]).toContain(answer.status)
    // An error may repeat the id that it was given; a result holds nothing of another tenant's.
    if (answer.status === 200) for (const part of ['secret', ids.session, 'stolen']) expect(text).not.toContain(part)
    else expect(text).not.toContain('secret')
  })

  it('has changed nothing in the end, and taken no number', async () => {
    expect(await stateOf(ids)).toEqual(before)
    const body = { model_id: ids.run, seq_id: 1 }
    expect(await server.result('optimStep', { key: ANNA, body })).toMatchObject({ metrics: { applied: 0 } })
    expect(await server.result('saveWeights', { key: ANNA, body: { ...body, seq_id: 2, path: 'b' } })).toMatchObject({
      path: `tinker://${ids.run}/weights/b`,
    })
  })
})
