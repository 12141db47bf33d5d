// A tenant that knows all ids of another one goes through every operation with them, in every form in which an id can be
// written. It learns nothing and changes nothing. The table is typed by the document: an operation without a row does not
// compile. Paths that no client would send are hostile-paths.test.ts's.

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { RoutedOperationId } from '../generated/operations.ts'
import { type Json, type Sent, TestServer } from './testing/test-server.ts'
import { type Owned, populate, withKeys } from './testing/two-tenants.ts'

/** What the attacks are made of: ids of the victim, and some of the attacker's own. */
interface Ids extends Omit<Owned, 'key' | 'paths' | 'futures' | 'spare'> {
  readonly path: string
  readonly future: string
  readonly ownSession: string
  readonly ownRun: string
  readonly ownOwner: string
}

type Attack = (ids: Ids) => Sent
/** Null: the operation takes no id and tells nothing of tenants. */
type Attacks = {
  readonly [K in RoutedOperationId<'tinker' | 'adapters' | 'twinkle' | 'openai'>]: readonly Attack[] | null
}

const of =
  (body: (ids: Ids) => unknown): Attack =>
  (ids) => ({ body: body(ids) })
const checkpoint: Attack = ({ path }) => {
  const [kind = '', name = ''] = path.split('/').slice(-2)
  return { params: { run: path.slice('tinker://'.length, -`/${kind}/${name}`.length), kind, name } }
}
const twinkleCheckpoint: Attack = (ids) => {
  const { run, ...rest } = checkpoint(ids).params as { run: string; kind: string; name: string }
  return { params: { run_id: run, ...rest } }
}
/** A call about the victim's adapter, as its own client would make it. */
const adapter =
  (body: (ids: Ids) => object = () => ({})): Attack =>
  (ids) => ({
    params: { base: 'org/tiny' },
    headers: { 'x-twinkle-session-id': ids.owner },
    body: { adapter_name: 'default', ...body(ids) },
  })
/** One about an adapter of one's own. */
const ownAdapter =
  (body: (ids: Ids) => object): Attack =>
  (ids) => ({ ...adapter(body)(ids), headers: { 'x-twinkle-session-id': ids.ownOwner } })
const row = { input_ids: [1, 2], labels: [2, 3] }
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

const messages = [{ role: 'user', content: 'hi' }]
const completion = { prompt: [1, 2], max_tokens: 1 }

const ATTACKS: Attacks = {
  modelCreate: null,
  modelAddAdapter: [adapter()],
  modelSetTemplate: [adapter(() => ({ template_cls: 'Template' }))],
  modelSetProcessor: [adapter(() => ({ processor_cls: 'InputProcessor' }))],
  modelSetLoss: [adapter(() => ({ loss_cls: 'CrossEntropyLoss' }))],
  modelSetOptimizer: [adapter(() => ({ optimizer_cls: 'SGD' }))],
  // It knows no adapter.
  modelApplyPatch: null,
  modelForward: [adapter(() => ({ inputs: [row] }))],
  modelForwardOnly: [adapter(() => ({ inputs: [row] }))],
  modelForwardBackward: [adapter(() => ({ inputs: [row], gradient_accumulation_steps: 7 }))],
  modelCalculateLoss: [adapter()],
  modelBackward: [adapter()],
  modelClipGradNorm: [adapter()],
  modelStep: [adapter()],
  modelZeroGrad: [adapter()],
  modelClipGradAndStep: [adapter()],
  modelLrStep: [adapter()],
  modelSetLrScheduler: [adapter(() => ({ scheduler_cls: 'StepLR', step_size: 1 }))],
  modelAddMetric: [adapter(() => ({ metric_cls: 'DPOMetric' }))],
  modelCalculateMetric: [adapter()],
  modelGetTrainConfigs: [adapter()],
  modelGetStateDict: [adapter()],
  modelHeartbeat: [adapter()],
  modelSave: [adapter(() => ({ name: 'stolen' }))],
  modelLoad: [adapter(({ path }) => ({ name: path })), ownAdapter(({ path }) => ({ name: path }))],
  modelResumeFromCheckpoint: [
    adapter(({ path }) => ({ name: path })),
    ownAdapter(({ path }) => ({ name: path, resume_only_model: true })),
  ],
  modelUploadToHub: [ownAdapter(({ path }) => ({ checkpoint_dir: path, hub_model_id: 'a/stolen' }))],
  modelUploadStatus: [({ future }) => ({ params: { base: 'org/tiny', request_id: future } })],
  createChatCompletion: [
    of(({ path }) => ({ model: path, messages, max_tokens: 1 })),
    of(({ path }) => ({ model: path.replace('tinker:', 'twinkle:'), messages, max_tokens: 1 })),
    of(({ path }) => ({ model: 'org/tiny', adapter_uri: path, messages, max_tokens: 1 })),
  ],
  createCompletion: [
    of(({ path }) => ({ model: path, ...completion })),
    of(({ run }) => ({ model: run, ...completion })),
    of(({ path }) => ({ model: 'org/tiny', adapter_uri: path, ...completion })),
  ],
  listModels: [() => ({})],
  retrieveModel: [({ path }) => ({ params: { model: path } })],
  samplerCreate: null,
  samplerSetTemplate: [adapter(() => ({ template_cls: 'Template' }))],
  samplerAddAdapter: [adapter()],
  // It knows no adapter.
  samplerApplyPatch: null,
  samplerSample: [
    adapter(() => ({ inputs: [row], sampling_params: { max_tokens: 1 } })),
    adapter(({ path }) => ({ inputs: [row], adapter_name: '', adapter_uri: path })),
    adapter(({ path }) => ({ inputs: [row], adapter_name: '', adapter_uri: path.replace('tinker:', 'twinkle:') })),
  ],
  samplerSampleStream: [adapter(({ path }) => ({ inputs: [row], adapter_name: '', adapter_uri: path }))],
  samplerHeartbeat: [adapter()],
  processorCreate: [
    of(({ object }) => ({ processor_type: 'dataloader', class_type: 'DataLoader', dataset: object, batch_size: 1 })),
    of(({ object }) => ({
      ...{ processor_type: 'dataset', class_type: 'Dataset' },
      dataset_meta: { dataset_id: `${object.replace('pid:', '')}.jsonl` },
    })),
  ],
  processorCall: [
    of(({ object }) => ({ processor_id: object, function: '__getitem__', idx: 0 })),
    of(({ object }) => ({ processor_id: object, function: '__next__' })),
    of(({ object }) => ({ processor_id: object, function: 'add_dataset', dataset_meta: { data: [{ stolen: 1 }] } })),
    of(({ object }) => ({ processor_id: object, function: 'save_as', output_path: 'stolen.jsonl' })),
  ],
  processorHeartbeat: [of(({ object }) => ({ processor_id: object }))],
  twinkleHealthz: null,
  twinkleDeepHealth: null,
  modelHealthz: null,
  twinkleCapabilities: null,
  twinkleStatus: [() => ({})],
  twinkleCapacity: [() => ({})],
  twinkleCreateSession: null,
  twinkleSessionHeartbeat: [of(({ session }) => ({ session_id: session }))],
  twinkleListRuns: [() => ({})],
  twinkleGetRun: [({ run }) => ({ params: { run_id: run } })],
  twinkleListCheckpoints: [({ run }) => ({ params: { run_id: run } })],
  twinkleDeleteCheckpoint: [twinkleCheckpoint],
  twinkleCheckpointPath: [twinkleCheckpoint],
  twinkleWeightsInfo: [
    of(({ path }) => ({ twinkle_path: path })),
    of(({ path }) => ({ twinkle_path: path.replace('tinker:', 'twinkle:') })),
  ],
  importAdapter: null,
  mergeAdapter: [of(({ path }) => ({ path }))],
  // By a signed address only: adapters.test.ts.
  downloadMerged: null,
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
    of(({ project }) => ({ project_ids: [project] })),
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
  listTrainingRuns: [...scopes, ({ project }) => ({ query: { project_id: project } })],
  getTrainingRun: scopes,
  listCheckpoints: [checkpoint],
  listModelCheckpoints: [checkpoint],
  listUserCheckpoints: [() => ({})],
  deleteCheckpoint: [checkpoint],
  getCheckpointArchive: [checkpoint],
  getExternalWeightsUrls: [checkpoint],
  createWeightsAccessToken: [(ids) => ({ ...checkpoint(ids), body: {} })],
  publishCheckpoint: [checkpoint],
  unpublishCheckpoint: [checkpoint],
  setCheckpointTtl: [(ids) => ({ ...checkpoint(ids), body: { ttl_seconds: 3600 } })],
  getBillingUsageEvents: [
    () => ({ query: { starting_on: '2020-01-01T00:00:00Z', ending_before: '2100-01-01T00:00:00Z' } }),
  ],
  getAuditLog: [() => ({})],
  getCurrentCheckpointStorage: [() => ({}), ({ project }) => ({ query: { project_id: project } })],
  getCurrentApiKey: [() => ({})],
  // What it does to the caller's own key, tenants.test.ts holds: here it would end the attacks.
  revokeCurrentApiKey: null,
}

/** Ways to write an id that is not quite the id. */
const FORMS: readonly ((id: string) => string)[] = [
  encodeURIComponent,
  (id) => encodeURIComponent(encodeURIComponent(id)),
  (id) => id.toUpperCase(),
  (id) => ` ${id}`,
  (id) => `${id} `,
  (id) => `${id}/`,
  (id) => `${id}\0`,
  (id) => `${id}%00`,
  (id) => `./${id}`,
  (id) => `x/../${id}`,
  (id) => id.replaceAll('/', '\\'),
  (id) => id.replaceAll('/', '%2f'),
  (id) => id.replace('tinker://', 'tinker:///'),
  (id) => id.replaceAll('-', '\u2010'),
  (id) => `${id}' or '1'='1`,
  (id) => id.replace(/.$/, '%'),
]

const server = new TestServer()
let anna: Owned
let bert: Owned

beforeAll(async () => {
  await server.start()
  const [annasKey, bertsKey] = await withKeys(server, 'anna', 'bert')
  anna = await populate(server, annasKey, 'secret-of-anna')
  bert = await populate(server, bertsKey, 'secret-of-bert')
})
afterAll(() => server.stop())

/** Everything that a tenant can see of its things. */
async function stateOf({ key, session, run }: Owned): Promise<Json> {
  const asked = { key, params: { session_id: session, run } }
  return {
    session: await server.call('getSession', asked),
    sessions: await server.call('searchSessions', { key, body: {} }),
    run: await server.call('getTrainingRun', asked),
    checkpoints: await server.call('listCheckpoints', asked),
    runs: await server.call('listTrainingRuns', asked),
  }
}

/** The ids of a victim: once with each of its checkpoints, and once with each of its futures. */
function targets(victim: Owned, attacker: Owned): Ids[] {
  const { key: _, spare: __, paths, futures, ...ids } = victim
  const own = { ownSession: attacker.spare.session, ownRun: attacker.spare.run, ownOwner: attacker.owner }
  const of = (path: string, future: string) => ({ ...ids, ...own, path, future })
  return [
    ...paths.map((path) => of(path, futures[0] as string)),
    ...futures.slice(1).map((future) => of(paths[0] as string, future)),
  ]
}

function inForm(ids: Ids, form: (id: string) => string): Ids {
  const changed = Object.entries(ids).map(([name, id]) => [name, name.startsWith('own') ? id : form(id)])
  return Object.fromEntries(changed) as unknown as Ids
}

const operations = Object.entries(ATTACKS).flatMap(([id, attacks]) =>
  attacks === null ? [] : [{ id: id as keyof Attacks, attacks }],
)

/** Each once, though several ids make the same. */
function different(sent: readonly Sent[]): Sent[] {
  return [...new Map(sent.map((one) => [JSON.stringify(one), one])).values()]
}

describe.each([
  ['anna', 'bert'],
  ['bert', 'anna'],
])('to %s, as a hostile tenant that knows all ids,', (attackerName) => {
  let attacker: Owned
  let victim: Owned
  let before: Json
  beforeAll(async () => {
    ;[attacker, victim] = attackerName === 'anna' ? [anna, bert] : [bert, anna]
    before = await stateOf(victim)
  })

  it.each(operations)('$id tells nothing', async ({ id, attacks }) => {
    for (const sent of different(targets(victim, attacker).flatMap((ids) => attacks.map((attack) => attack(ids))))) {
      const answer = await server.send(id, { ...sent, key: attacker.key })
      const text = await answer.text()
      // A 400 would mean that the attack was malformed and proves nothing.
      expect([200, 404], JSON.stringify(sent)).toContain(answer.status)
      // An error may repeat the id that it was given; a result holds nothing of another tenant's.
      expect(text).not.toContain(victim.project)
      if (answer.status === 200) for (const part of [victim.session, 'stolen']) expect(text).not.toContain(part)
    }
  })

  it.each(operations)('$id tells nothing however the ids are written', async ({ id, attacks }) => {
    const forms = targets(victim, attacker).flatMap((ids) => FORMS.map((form) => inForm(ids, form)))
    for (const sent of different(forms.flatMap((ids) => attacks.map((attack) => attack(ids))))) {
      const answer = await server.send(id, { ...sent, key: attacker.key })
      const text = await answer.text()
      expect(answer.status, JSON.stringify(sent)).toBeLessThan(500)
      if (answer.status < 300) for (const part of ['stolen', victim.session]) expect(text).not.toContain(part)
    }
  })

  it('nothing of it was changed in the end, and no number was taken', async () => {
    expect(await stateOf(victim)).toEqual(before)
    const { key, run } = victim
    const body = { model_id: run, seq_id: 1 }
    expect(await server.result('optimStep', { key, body })).toMatchObject({ metrics: { applied: 0 } })
    expect(await server.result('saveWeights', { key, body: { ...body, seq_id: 2, path: 'b' } })).toMatchObject({
      path: `tinker://${run}/weights/b`,
    })
  })
})

describe('whoever holds a weights access token and sends it as a key', () => {
  let token: string
  beforeAll(async () => {
    const sent = { key: anna.key, params: { run: anna.run, kind: 'weights', name: 'a' }, body: {} }
    token = (await server.call('createWeightsAccessToken', sent)).token
  })

  it.each(operations)('learns nothing by $id but the shape of its checkpoint', async ({ id, attacks }) => {
    for (const sent of different(targets(anna, bert).flatMap((ids) => attacks.map((attack) => attack(ids))))) {
      const answer = await server.send(id, { ...sent, key: token })
      const text = await answer.text()
      // Nothing is its own, not even what the tenant that made the token could name.
      expect(answer.status === 403 || READERS_MAY.includes(id), `${id} ${answer.status}`).toBe(true)
      for (const part of [anna.project, 'stolen']) expect(text).not.toContain(part)
      const isItsOwn = JSON.stringify(sent).includes(anna.paths[0] as string)
      if (id === 'weightsInfo') expect(answer.status).toBe(isItsOwn ? 200 : 404)
    }
  })
})

/** Of the operations above. */
const READERS_MAY: readonly string[] = ['reportTelemetry', 'sessionHeartbeat', 'finishSession', 'weightsInfo']
