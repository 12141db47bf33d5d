// What callers rely on beyond the shape of single messages: order, failures, repetition, waiting, ending.
import { readFileSync } from 'node:fs'
import sinon from 'sinon'
import { afterEach, describe, expect, it } from 'vitest'
import { ModelInput, RequestFailedError, ServiceClient, StatusError, TinkerError } from './index.ts'
import { FakeServer, failure, protobuf, trainingOutput } from './testing/fake-server.ts'
import { CLIENT_VERSION } from './version.ts'

afterEach(() => sinon.restore())

const datum = { modelInput: ModelInput.fromInts([1]), lossFnInputs: { target_tokens: [2], weights: [1] } }
const prompt = ModelInput.fromInts([1])
const train = (server: FakeServer) => server.client().createLoraTrainingClient({ baseModel: 'org/m' })

describe('operations of one adapter', () => {
  it('are all submitted before the first result is there, in the order of the calls', async () => {
    const server = new FakeServer()
    const client = await train(server)
    let release = () => {}
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    server.on('retrieve_future', async () => {
      await held
      return undefined
    })
    const step = client.forwardBackward([datum], 'cross_entropy')
    const optim = client.optimStep()
    const saved = client.saveWeightsAndGetSamplingClient()
    await saved.submitted
    expect(server.asked.slice(-20).map(({ path, body }) => [path, body.seq_id])).toEqual(
      expect.arrayContaining([
        ['forward_backward', 1],
        ['optim_step', 2],
        ['save_weights_for_sampler', 3],
      ]),
    )
    release()
    expect((await step).metrics).toEqual({ 'loss:sum': 1 })
    await optim
    expect((await saved).samplingSessionId).toBe('s1:sample:1')
  })

  it('go out in chunks, the first one last, and come back as one', async () => {
    const server = new FakeServer()
    const client = await train(server)
    const results = [
      trainingOutput([[-1], [-2]], { 'loss:sum': 3, 'x:mean': 1, 'y:max': 5, 'z:unique': 1, 'w:avg': 1 }),
      trainingOutput([[-3], [-4]], { 'loss:sum': 7, 'x:mean': 2, 'y:max': 9, 'z:unique': 2, 'w:avg': 1 }),
      trainingOutput([[-5]], { 'loss:sum': 5, 'x:mean': 6, 'y:max': 1, 'z:unique': 3, 'w:avg': 1 }),
    ]
    server.on('forward_backward', ({ body }) => ({ request_id: String(body.seq_id) }))
    server.on('retrieve_future', ({ body }) => results[Number(body.request_id) - 1])
    const output = await client.forwardBackward([datum, datum, datum, datum, datum], 'cross_entropy')
    expect(server.bodies('forward_backward').map((body) => body.seq_id)).toEqual([2, 3, 1])
    expect(output.lossFnOutputs.map(({ logprobs }) => logprobs?.data[0])).toEqual([-1, -2, -3, -4, -5])
    expect(output.metrics).toEqual({
      'loss:sum': 15,
      'x:mean': 2.4,
      'y:max': 9,
      'z:unique': 1,
      'z:unique_1': 2,
      'z:unique_2': 3,
    })
  })

  it('go on after a refused one, which used up its number', async () => {
    const server = new FakeServer().on('optim_step', ({ body }) => (body.seq_id === 1 ? failure(400) : undefined))
    const client = await train(server)
    const first = client.optimStep()
    const second = client.optimStep()
    await expect(first).rejects.toMatchObject({ status: 400, code: 'TEST', message: '400: status 400' })
    await second
    expect(server.bodies('optim_step').map((body) => body.seq_id)).toEqual([1, 2])
  })

  it('use no number when their data cannot be sent', async () => {
    const server = new FakeServer()
    const client = await train(server)
    await expect(client.forwardBackward([], 'cross_entropy')).rejects.toThrow('No data provided')
    const shaped = { data: [1, 2], dtype: 'int64', shape: [3] } as const
    const bad = { ...datum, lossFnInputs: { target_tokens: shaped } }
    await expect(client.forwardBackward([bad], 'cross_entropy')).rejects.toThrow('target_tokens has 2 numbers')
    const unknown = { ...datum, lossFnInputs: { target: [1] } }
    await expect(client.forwardBackward([unknown], 'cross_entropy')).rejects.toThrow(
      'The loss input target needs a dtype',
    )
    await client.optimStep()
    expect(server.bodies('optim_step')[0]?.seq_id).toBe(1)
  })

  it('leave no gap when aborted before their turn, and reject at once when aborted later', async () => {
    const server = new FakeServer()
    const client = await train(server)
    const early = AbortSignal.abort(new Error('early'))
    await expect(client.optimStep({}, { signal: early })).rejects.toThrow('early')
    const later = new AbortController()
    server.on('retrieve_future', () => new Promise(() => {}))
    const waiting = client.optimStep({}, { signal: later.signal })
    await waiting.submitted
    later.abort(new Error('later'))
    await expect(waiting).rejects.toThrow('later')
    expect(server.bodies('optim_step').map((body) => body.seq_id)).toEqual([1])
  })

  it('fail with the category that the server gives', async () => {
    const server = new FakeServer()
    const client = await train(server)
    server.on('retrieve_future', () => ({ error: 'NaN in the loss', category: 'user' }))
    const error = await client.optimStep().catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(RequestFailedError)
    expect(error).toMatchObject({ category: 'user', message: 'NaN in the loss', requestId: 'optim_step#1' })
  })
})

describe('sparse targets', () => {
  it('are sent as compressed rows', async () => {
    const server = new FakeServer()
    const client = await train(server)
    const targets = { data: [7], dtype: 'int64', shape: [1, 4], crowIndices: [0, 1], colIndices: [2] } as const
    await client.forwardBackward([{ ...datum, lossFnInputs: { target_tokens: targets } }], 'cross_entropy')
    const [body] = server.bodies('forward_backward')
    const [sent] = body!.data as { loss_fn_inputs: Record<string, unknown> }[]
    const bytes = (value: bigint[]) => new Uint8Array(BigInt64Array.from(value).buffer)
    expect(sent?.loss_fn_inputs.target_tokens).toMatchObject({
      shape: [1, 4],
      sparse_csr: { crow_indices: Buffer.from(bytes([0n, 1n])), col_indices: Buffer.from(bytes([2n])) },
    })
  })
})

describe('waiting for a result', () => {
  it('goes on through 408, try_again and lost connections, and reports why', async () => {
    const clock = sinon.useFakeTimers({ toFake: ['setTimeout', 'Date'], shouldAdvanceTime: true, advanceTimeDelta: 5 })
    const reports: unknown[] = []
    const server = new FakeServer()
    const service = server.client({ onQueue: (report) => reports.push(report) })
    const client = await service.createLoraTrainingClient({ baseModel: 'org/m' })
    const answers = [
      () => failure(408),
      () => ({ type: 'try_again', queue_state: 'paused_capacity', queue_state_reason: 'full' }),
      () => Promise.reject(new TypeError('reset')),
      () => failure(503),
      () => failure(400),
    ]
    server.on('retrieve_future', () => answers.shift()?.())
    const result = client.optimStep()
    for (let second = 0; second < 20; second++) await clock.tickAsync(1000)
    expect(await result).toEqual({ metrics: { 'grad_norm:mean': 1 } })
    expect(reports).toEqual([{ state: 'paused_capacity', reason: 'full' }])
  })

  it('fetches an announced result separately', async () => {
    const server = new FakeServer()
    const client = await train(server)
    server.on('retrieve_future', ({ body }) =>
      body.allow_metadata_only ? { status: 'complete_metadata', response_payload_size: 10 } : undefined,
    )
    expect((await client.forwardBackward([datum], 'cross_entropy')).metrics).toEqual({ 'loss:sum': 1 })
  })

  it('ends at once for a future that the server does not know', async () => {
    const server = new FakeServer()
    const client = await train(server)
    server.on('retrieve_future', () => failure(404))
    await expect(client.optimStep()).rejects.toBeInstanceOf(StatusError)
  })
})

describe('repetition', () => {
  it('follows the advice of the server and keeps the idempotency key', async () => {
    let failures = 2
    const server = new FakeServer().on('create_session', () =>
      failures-- > 0 ? failure(503, { 'retry-after-ms': '1' }) : undefined,
    )
    await train(server)
    const attempts = server.asked.filter(({ path }) => path === 'create_session')
    expect(attempts.map(({ headers }) => headers.get('x-stainless-retry-count'))).toEqual(['0', '1', '2'])
    expect(new Set(attempts.map(({ headers }) => headers.get('x-idempotency-key'))).size).toBe(1)
  })

  it('is not tried for what the server refuses', async () => {
    const server = new FakeServer().on('create_model', () => failure(400))
    await expect(train(server)).rejects.toMatchObject({ status: 400 })
    expect(server.bodies('create_model')).toHaveLength(1)
  })

  it('sends a sample again under the same number when there are too many, and under a new one when it was lost', async () => {
    const server = new FakeServer()
    let isFull = true
    server.on('asample', () => {
      if (!isFull) return undefined
      isFull = false
      return failure(429)
    })
    let isLost = true
    server.on('retrieve_future', () => {
      if (!isLost) return undefined
      isLost = false
      return failure(410)
    })
    const client = await server.client().createSamplingClient({ baseModel: 'org/m' })
    const { sequences } = await client.sample({ prompt })
    expect(sequences[0]).toMatchObject({ tokens: [5], sequenceId: 'q0' })
    expect(server.bodies('asample').map((body) => body.seq_id)).toEqual([0, 0, 1])
  })
})

describe('sampling', () => {
  it('writes a seed of 64 bits digit by digit, and refuses a number that has lost digits', async () => {
    const server = new FakeServer()
    const client = await server.client().createSamplingClient({ baseModel: 'org/m' })
    await client.sample({ prompt, samplingParams: { seed: 9223372036854775807n } })
    expect(server.asked.find(({ path }) => path === 'asample')?.text).toContain('"seed":9223372036854775807,')
    await expect(client.sample({ prompt, samplingParams: { seed: 2 ** 60 } })).rejects.toThrow('bigint')
  })

  it('reads the best tokens of prompt and samples', async () => {
    const golden =
      '0a14120805000000060000001a08000000bf000080bf0a2808011204070000001a04000000c022180a0807000000090000001208000000c0000040c018022001120c0000c07f000080bf000000c02a100a0800000000000040c0180122020201322c0a180a100400000000000000050000000000000018022202020112100a08000080bf000000c0180122020201'
    const server = new FakeServer()
      .on('retrieve_future', () => protobuf(Buffer.from(golden, 'hex')))
      .on('asample', () => ({ request_id: 'r', sample_sequence_ids: ['a', 'b'] }))
    const client = await server.client().createSamplingClient({ baseModel: 'org/m' })
    const { sequences, promptLogprobs } = await client.sample({ prompt })
    expect(sequences[0]).toMatchObject({ tokens: [5, 6], logprobs: [-0.5, -1], stopReason: 'stop' })
    const best = [
      [7, -2],
      [9, -3],
    ]
    expect(sequences[1]).toMatchObject({ tokens: [7], stopReason: 'length', topkLogprobs: [best] })
    expect(promptLogprobs).toEqual([null, -1, -2])
  })
})

describe('a session', () => {
  it('sends nothing before it is needed, nor when closed unused', async () => {
    const server = new FakeServer()
    const service = server.client()
    await service.close()
    expect(server.asked).toEqual([])
    await expect(service.createSamplingClient({ baseModel: 'm' })).rejects.toThrow('closed')
  })

  it('is begun once for clients that are made at the same time, and again after a failure', async () => {
    let isDown = true
    const server = new FakeServer().on('create_session', () => (isDown ? failure(401) : undefined))
    const service = server.client()
    await expect(service.createSamplingClient({ baseModel: 'm' })).rejects.toMatchObject({ status: 401 })
    isDown = false
    await Promise.all([1, 2, 3].map(() => service.createSamplingClient({ baseModel: 'm' })))
    expect(server.bodies('create_session')).toHaveLength(2)
    expect(server.bodies('create_sampling_session').map((body) => body.sampling_session_seq_id)).toEqual([0, 1, 2])
  })

  it('beats every ten seconds until the server says that it is over', async () => {
    const clock = sinon.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
    let beats = 0
    const server = new FakeServer().on('session_heartbeat', () => (++beats === 3 ? failure(410) : {}))
    await server.client().createSamplingClient({ baseModel: 'm' })
    for (let second = 0; second < 60; second++) {
      await clock.tickAsync(1000)
      await new Promise(setImmediate)
    }
    expect(beats).toBe(3)
  })

  it('finishes once, with the first reason', async () => {
    const server = new FakeServer()
    const service = server.client()
    await service.createSamplingClient({ baseModel: 'm' })
    await service.close('errored', 'why')
    await service.close('success')
    expect(server.bodies('sessions/s1/finish')).toEqual([{ reason: { type: 'errored' }, detail: 'why' }])
  })
})

describe('a service client', () => {
  it('refuses to be made without a key, or with a URL that is none', () => {
    sinon.stub(process, 'env').value({})
    expect(() => new ServiceClient({ baseUrl: 'http://a' })).toThrow(/TINKER_API_KEY/)
    expect(() => new ServiceClient({ baseUrl: 'a:80', apiKey: 'k' })).toThrow(TinkerError)
  })

  it('keeps a path prefix, and names itself and the method', async () => {
    const server = new FakeServer()
    const fetch = (url: string, init: RequestInit) =>
      server.fetch(url.replace('http://far/prefix/', 'http://fake/'), init)
    const service = new ServiceClient({
      baseUrl: 'http://far/prefix/',
      apiKey: 'tml-k',
      headers: { 'x-a': 'b' },
      fetch,
    })
    server.on('get_server_capabilities', () => ({ supported_models: [{ model_name: 'm', trainable: true }] }))
    const { supportedModels } = await service.getServerCapabilities()
    expect(supportedModels).toEqual([{ modelName: 'm', trainable: true }])
    const headers = server.asked.at(-1)!.headers
    expect([headers.get('x-api-key'), headers.get('x-a')]).toEqual(['tml-k', 'b'])
    expect(headers.get('x-sdk-method')).toBe('ServiceClient.get_server_capabilities')
  })

  it('says who could not be reached', async () => {
    const service = new ServiceClient({ baseUrl: 'http://127.0.0.1:1', apiKey: 'tml-k', onMessage: () => {} })
    const clock = sinon.useFakeTimers({ toFake: ['setTimeout', 'Date'], shouldAdvanceTime: true })
    const asked = service.getServerCapabilities().catch((error: unknown) => error)
    for (let minute = 0; minute < 60; minute++) await clock.tickAsync(60_000)
    expect(String(await asked)).toMatch(/http:\/\/127\.0\.0\.1:1.*could not be reached/)
  })

  it('has the version of the package', () => {
    const manifest = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'))
    expect(CLIENT_VERSION).toBe(manifest.version)
  })
})

it('takes only whole numbers as tokens', () => {
  expect(() => ModelInput.fromInts([1, 2.5])).toThrow('Token 1 is 2.5')
  expect(() => ModelInput.fromInts([-1])).toThrow('Token 0 is -1')
  expect(ModelInput.fromInts([1]).append([2]).toInts()).toEqual([1, 2])
})
