// The recordings that stand alone: copies of samplers, REST, and what a client does when a server sets one of its flags.
import { randomBytes } from 'node:crypto'
import sinon from 'sinon'
import { afterEach, expect, it } from 'vitest'
import { AdminClient, ModelInput, RestClient, SamplingClient, ServiceClient } from './index.ts'
import {
  answering,
  type Exchange,
  firstSampler,
  inSession,
  type Replay,
  recorded,
  replay,
  startOf,
} from './testing/replay.ts'

let server: Replay
afterEach(async () => {
  sinon.restore()
  await server.close()
})

async function served(exchanges: readonly Exchange[], options: Parameters<typeof replay>[1] = {}) {
  server = await replay(exchanges, options)
}

const access = () => ({ baseUrl: server.url, apiKey: 'tml-test', onMessage: () => {} })

function expectAllReplayed(): void {
  expect([server.differences, server.left()]).toEqual([[], []])
}

const prompt = ModelInput.fromInts([1, 2, 3, 4])
const data = [
  { modelInput: ModelInput.fromInts([1, 2, 3]), lossFnInputs: { weights: [0, 1, 1], target_tokens: [2, 3, 4] } },
]

it('a copy of a sampler numbers its requests from a place of its own', async () => {
  const [, , , sample] = recorded('08-sampling-client')
  await served([...startOf('sess-1'), answering(firstSampler(), { sampling_session_id: 'sess-1:sample:3' }), sample!], {
    holds: ['/retrieve_future'],
  })
  const service = new ServiceClient(access())
  const original = await service.createSamplingClient({ baseModel: 'org/tiny' })
  const copy = SamplingClient.fromSamplerHandle(await original.getSamplerHandle(), { apiKey: 'tml-test' })
  sinon.stub(crypto, 'getRandomValues').callsFake((array) => {
    ;(array as BigUint64Array)[0] = 189_992_461n
    return array
  })
  const sampled = copy.sample({ prompt, samplingParams: { maxTokens: 1 } })
  await sampled.submitted
  expectAllReplayed()
})

it('asks of runs, checkpoints, sessions and accounts', async () => {
  const rest = recorded('10-rest')
  const isAdmin = ({ request }: Exchange) => request.headers?.['x-sdk-method']?.startsWith('AdminClient') ?? false
  const config = startOf('none').slice(0, 2)
  await served([...config, ...rest.filter((each) => !isAdmin(each)), ...config, ...rest.filter(isAdmin)])
  const client = new RestClient(access())
  const path = 'tinker://sess-1:train:0/weights/a'
  const run = await client.getTrainingRun('sess-1:train:0')
  expect([run.trainingRunId, run.baseModel, run.loraRank]).toEqual(['sess-1:train:0', 'org/tiny', 8])
  expect(await client.getTrainingRunByTinkerPath(path)).toEqual(run)
  expect((await client.getWeightsInfoByTinkerPath(path)).trainMlp).toBe(true)
  const { trainingRuns, cursor } = await client.listTrainingRuns({ projectId: 'p1' })
  expect([trainingRuns.length, cursor.totalCount]).toEqual([3, 3])
  expect((await client.listCheckpoints('sess-1:train:0')).checkpoints[1]?.checkpointType).toBe('sampler')
  const { urls } = await client.getExternalWeightsUrls('tinker://sess-1:train:0/external_weights/x')
  expect(urls['adapter_config.json']).toBe('http://server.test/blob/cfg')
  await client.publishCheckpointFromTinkerPath(path)
  await client.unpublishCheckpointFromTinkerPath(path)
  await client.setCheckpointTtlFromTinkerPath(path, null)
  await client.deleteCheckpointFromTinkerPath(path)
  expect((await client.listUserCheckpoints()).checkpoints).toHaveLength(3)
  expect((await client.getSession('sess-1')).userMetadata).toEqual({ k: 'v' })
  expect((await client.listSessions()).sessions).toEqual(['sess-1'])
  await client.assignSessionProject('s', 'p')
  expect(await client.exportSessionTrace('s')).toBe('http://server.test/blob/trace')
  expect((await client.getSampler('sess-1:sample:3')).baseModel).toBe('org/tiny')
  const copied = await client.copyWeights(path, 'p2', { ttlSeconds: 3600, weightsAccessToken: 'tml-EXAMPLE-OTHER' })
  expect(copied).toBe('tinker://copied:train:0/weights/x')
  const found = await client.searchSessions({ displayName: 'a', statuses: [{ type: 'active' }] })
  expect(found.sessions[0]?.checkpointsCount).toBe(0)
  const [model] = (await client.getServerCapabilities()).supportedModels
  expect(model).toEqual({ modelName: 'org/tiny', maxContextLength: 2048, trainable: true, sampleable: true })

  const admin = new AdminClient(access())
  const { entries } = await admin.getAuditLog({ eventType: 'checkpoints' })
  expect(entries[0]).toMatchObject({ event: 'checkpoint_read', eventDetails: { actor: 'u1' } })
  expect(await admin.getBillingUsage('2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z')).toEqual({
    data: [],
    sessions: {},
  })
  expect((await admin.getCurrentCheckpointStorageUsage()).data).toEqual([])
  expectAllReplayed()
})

it('asks once for all samples where the server wants that, and joins a sampling session', async () => {
  const exchanges = recorded('12-retrieve-futures')
  const flags = { sample_use_retrieve_futures: true, sample_join_sampling_session: true }
  const created = answering(firstSampler(), { sampling_session_id: 'sess-1:sample:0' })
  // Two requests are under way at the same time after the first completion; four samples are submitted at once.
  await served([...startOf('sess-1', flags), created, ...exchanges], {
    window: 4,
    holds: ['/retrieve_futures', '/asample'],
  })
  const service = new ServiceClient(access())
  const client = await service.createSamplingClient({ baseModel: 'org/tiny' })
  const request = { prompt, samplingParams: { maxTokens: 2 } }
  const { sequences } = await client.sample(request)
  expect(sequences[0]?.sequenceId).toBe('sess-1:sample:0:0:0')
  for (let number = 1; number <= 4; number++) await client.sample(request).submitted
  const copy = SamplingClient.fromSamplerHandle(await client.getSamplerHandle(), { apiKey: 'tml-test' })
  void copy.sample(request)
  await server.done
  expectAllReplayed()
})

it('gives a loss of its own to a server that computes it, compressed where the server wants that', async () => {
  const [createLoss, train] = recorded('13-server-side-custom-loss')
  const made = inSession(recorded('02-create-model'), 'sess-1', 'sess-9')
  const poll = inSession([recorded('02-create-model')[1]!], 'req-2', 'req-12')[0]!
  const headers = {
    ...poll.request.headers,
    'x-sdk-method': 'ServiceClient.create_custom_loss',
    'x-tinker-request-type': 'CreateCustomLoss',
  }
  const lossPoll = answering({ ...poll, request: { ...poll.request, headers } }, { loss_id: 'loss-1' })
  // The recording's loss was trained with after one other request.
  const [step, stepPoll] = inSession(recorded('04-optim-step'), 'sess-1', 'sess-9')
  const first = { ...step!, request: { ...step!.request, body: { json: { ...step!.request.body!.json, seq_id: 1 } } } }
  const flags = { custom_loss_server_side: true, proto_compress_fwdbwd: true }
  await served([...startOf('sess-9', flags), ...made, createLoss!, lossPoll, first, stepPoll!, train!], {
    holds: ['/retrieve_future'],
  })
  const service = new ServiceClient(access())
  const training = await service.createLoraTrainingClient({ baseModel: 'org/tiny', rank: 8, seed: 7 })
  const loss = await service.createCustomLoss(
    'neg_ll',
    ({ logprobs: lp, weights }) => {
      const negative = lp.mul(weights).sum().neg()
      return { loss: negative, metrics: { 'custom/neg:sum': negative } }
    },
    { logprobs: 1, weights: 1 },
  )
  await training.optimStep({ learningRate: 0.001 })
  await training.forwardBackwardCustom(data, loss).submitted
  expectAllReplayed()
})

it('tells the server when nobody waits for a sample any longer', async () => {
  const [dynamic, ...exchanges] = recorded('14-cancel')
  const created = answering(firstSampler(), { sampling_session_id: 'sess-1:sample:0' })
  await served([...startOf('sess-1', {}, dynamic), created, ...exchanges], { holds: ['/retrieve_future'] })
  const service = new ServiceClient(access())
  const client = await service.createSamplingClient({ baseModel: 'org/tiny' })
  const abort = new AbortController()
  const sampled = client.sample({ prompt, samplingParams: { maxTokens: 2 }, signal: abort.signal })
  await sampled.submitted
  while (server.left().length > 1) await new Promise(setImmediate)
  abort.abort(new Error('enough'))
  await expect(sampled).rejects.toThrow('enough')
  await server.done
  expectAllReplayed()
})

it('exchanges its key for a token, exports a checkpoint and cleans up, as `tinker checkpoint download` does', async () => {
  // The command fetches the files without a key; that is plain fetch, and not this client's.
  const exchanges = recorded('15-cli-download').filter(({ request }) => !request.path.startsWith('/blob/'))
  const now = Math.floor(Date.now() / 1000)
  const claims = { sub: 'tml:user:u1', org_id: 'o1', email: 'a@b.c', iat: now, exp: now + 3600 }
  const jwt = `eyJ.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.${randomBytes(4).toString('hex')}`
  const [token, ...others] = exchanges
  const isRest = ({ request }: Exchange) => request.headers?.['x-sdk-method']?.startsWith('RestClient') ?? false
  const config = startOf('none', { pjwt_auth_enabled: true })[0]!
  const restStart = [config, answering(token!, { jwt }), others[0]!]
  const whole = [config, answering(token!, { jwt }), ...others]
  const at = whole.findIndex(isRest)
  await served([...whole.slice(0, at), ...restStart, ...whole.slice(at)])
  const service = new ServiceClient(access())
  const training = await service.createTrainingClientFromState('tinker://sess-1:train:0/weights/a', {
    userMetadata: { created_by: 'tinker checkpoint download' },
  })
  const { path } = await training.saveWeightsExternal('download', { ttlSeconds: 3600 })
  const rest = service.createRestClient()
  expect((await rest.getExternalWeightsUrls(path)).expires).toBe('2027-01-01T00:00:00Z')
  await rest.setCheckpointTtlFromTinkerPath(path, 3600)
  await rest.deleteCheckpointFromTinkerPath(path)
  await service.close()
  expectAllReplayed()
  expect(await rest.whoami()).toEqual({ userUrn: 'tml:user:u1', orgUrn: 'tml:organization:o1', email: 'a@b.c' })
})

it('reports the start of a session where telemetry is on', async () => {
  const [batch] = recorded('16-telemetry')
  const json = batch!.request.body!.json as { events: Record<string, unknown>[] } & Record<string, unknown>
  const clock = sinon.useFakeTimers({
    toFake: ['Date', 'setInterval', 'clearInterval'],
    now: Date.parse('2026-11-23T23:36:00.775Z'),
  })
  sinon.stub(crypto, 'randomUUID').returns('7430b372-0d38-421a-9d96-c0f339a1b3a2')
  const platform =
    { linux: 'Linux', darwin: 'Darwin', win32: 'Windows' }[process.platform as 'linux'] ?? process.platform
  const mine = {
    ...json,
    platform,
    // Made when the module was loaded, before the stub.
    process_uuid: 'mine',
    events: json.events.map((event) => ({ ...event, timestamp: '2026-11-23T23:36:00.775Z' })),
  }
  const seen: Record<string, unknown>[] = []
  let headers = new Headers()
  await served(startOf('sess-1'), { holds: ['/copy_weights'] })
  const fetch = async (url: string, init: RequestInit) => {
    if (!url.endsWith('/telemetry')) return globalThis.fetch(url, init)
    seen.push(JSON.parse(String(init.body)))
    headers = new Headers(init.headers)
    return Response.json({ status: 'accepted' })
  }
  const service = new ServiceClient({ ...access(), telemetry: true, fetch })
  await expect(service.createSamplingClient({ modelPath: 'not-a-path' })).rejects.toThrow('tinker://')
  const begun = service.copyWeights('tinker://sess-1:train:0/weights/a')
  void begun.catch(() => {})
  while (server.left().length > 0) await new Promise(setImmediate)
  await new Promise(setImmediate)
  await clock.tickAsync(10_000)
  while (seen.length === 0) await new Promise(setImmediate)
  const [sent] = seen
  expect({ ...sent, process_uuid: 'mine' }).toEqual(mine)
  expect(Number(headers.get('x-stainless-read-timeout'))).toBe(5)
  expect([headers.has('x-sdk-method'), headers.get('content-type')]).toEqual([false, 'application/json'])
})
