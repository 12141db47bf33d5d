// The TypeScript patch: exactly what it intercepts, on a server of our own, and on a recorded one that speaks JSON only.

import { createServer } from 'node:http'
import sinon from 'sinon'
import { afterEach, describe, expect, it } from 'vitest'
import { startServerProcess } from '../../openapi/conformance/server-process.ts'
import { ModelInput, ServiceClient } from '../client/tinker/index.ts'
import { transport } from '../client/tinker/transport.ts'
import { initTinkerClient, initTinkerCompatClient, restore } from './index.ts'
import { OlderTwinkle, recordedBody } from './testing/older-twinkle.ts'

const CAPABILITIES = { supported_models: [{ model_name: 'org/m' }] }
const IDENTITY = ['x-request-id', 'x-ray-serve-request-id', 'serve_multiplexed_model_id', 'serve-multiplexed-model-id']

afterEach(() => {
  restore()
  sinon.restore()
})

/** What would go out, without a network. */
function listened() {
  const fetch = sinon.stub(transport, 'fetch')
  fetch.callsFake(async (url) => Response.json(url.endsWith('get_server_capabilities') ? CAPABILITIES : {}))
  const sent = () => fetch.getCalls().map(({ args: [url, init] }) => ({ url, headers: new Headers(init.headers) }))
  return { fetch, sent }
}

const ask = (service: ServiceClient) => service.getServerCapabilities()

describe('the patch of the process', () => {
  it('sends unchanged code to the server, with the real key and one identity in every spelling', async () => {
    const { sent } = listened()
    initTinkerCompatClient({ baseUrl: 'box:8000/api/v1/', apiKey: 'no-prefix' })
    await ask(new ServiceClient())
    expect(sent().map(({ url }) => url)).toEqual([
      'http://box:8000/api/v1/client/config',
      'http://box:8000/api/v1/client/dynamic_config',
      'http://box:8000/api/v1/get_server_capabilities',
    ])
    for (const { headers } of sent()) {
      expect(headers.get('x-api-key')).toBe('no-prefix')
      expect(headers.get('authorization')).toBe('Bearer no-prefix')
      expect(headers.get('twinkle-authorization')).toBe('Bearer no-prefix')
    }
    const ids = new Set(sent().flatMap(({ headers }) => IDENTITY.map((name) => headers.get(name))))
    expect(ids.size).toBe(1)
    expect([...ids][0]).toMatch(/^\d{8}_\d{6}-[0-9a-f]{8}$/)
  })

  it('leaves code its own address, key and headers', async () => {
    const { sent } = listened()
    initTinkerClient({ baseUrl: 'http://box:8000', apiKey: 'no-prefix' })
    const headers = { 'x-request-id': 'mine' }
    await ask(new ServiceClient({ baseUrl: 'https://other.example/tinker', apiKey: 'tml-other', headers }))
    for (const { url, headers } of sent()) {
      expect(url).toMatch(/^https:\/\/other\.example\/tinker\/api\/v1\//)
      expect(headers.get('x-api-key')).toBe('tml-other')
      expect(headers.get('x-request-id')).toBe('mine')
    }
  })

  it('is there once however often it is asked for, with what was said last', async () => {
    const { fetch, sent } = listened()
    initTinkerClient({ baseUrl: 'http://one:1', apiKey: 'one' })
    const wrapped = transport.connect
    initTinkerClient({ baseUrl: 'http://two:2', apiKey: 'two' })
    expect(transport.connect).toBe(wrapped)
    await ask(new ServiceClient())
    expect(fetch.callCount).toBe(3)
    expect(sent().every(({ url, headers }) => url.startsWith('http://two:2/') && headers.get('x-api-key') === 'two'))
  })

  it('is taken back by restore, and clients made meanwhile go on', async () => {
    const { sent } = listened()
    const undo = initTinkerClient({ baseUrl: 'http://box:8000', apiKey: 'no-prefix' })
    const before = new ServiceClient()
    undo()
    expect(() => new ServiceClient({ apiKey: 'no-prefix' })).toThrow(/must start with tml-/)
    await ask(before)
    await ask(new ServiceClient({ baseUrl: 'http://plain:1', apiKey: 'tml-plain' }))
    const plain = sent().filter(({ url }) => url.startsWith('http://plain:1/'))
    expect(plain).toHaveLength(3)
    for (const { headers } of plain) expect(headers.has('twinkle-authorization')).toBe(false)
    expect(sent().length - plain.length).toBe(3)
  })
})

describe('the patch of one client', () => {
  it('touches no other', async () => {
    const { sent } = listened()
    const own = initTinkerCompatClient({ scope: 'client', baseUrl: 'box:8000' })
    expect(() => new ServiceClient({ apiKey: 'no-prefix' })).toThrow(/must start with tml-/)
    await ask(own)
    expect(sent().every(({ headers }) => headers.get('x-api-key') === 'EMPTY_TOKEN')).toBe(true)
  })

  it('is not applied twice beside that of the process', async () => {
    const older = new OlderTwinkle()
    initTinkerClient({ baseUrl: 'http://elsewhere:1', apiKey: 'other' })
    const service = initTinkerCompatClient({ scope: 'client', baseUrl: 'http://box', apiKey: 'me', fetch: older.fetch })
    await service.createLoraTrainingClient({ baseModel: 'tiny/tiny-llm', rank: 8 })
    for (const { headers } of older.asked) expect(headers.get('twinkle-authorization')).toBe('Bearer me')
  })
})

describe('a server that speaks the JSON of SDK 0.16', () => {
  it('is sent what that SDK sent, and its results are understood', async () => {
    const server = new OlderTwinkle()
    const service = initTinkerCompatClient({ baseUrl: 'http://older', apiKey: 'EMPTY_TOKEN', fetch: server.fetch })
    const training = await service.createLoraTrainingClient({ baseModel: 'tiny/tiny-llm', rank: 8 })
    const datum = {
      modelInput: ModelInput.fromInts([1, 2, 3]),
      lossFnInputs: { weights: [0, 1, 1], target_tokens: [2, 3, 4] },
    }
    const step = training.forwardBackward([datum], 'cross_entropy')
    const optim = training.optimStep({ learningRate: 1e-4 })
    expect([...((await step).lossFnOutputs[0]?.logprobs?.data ?? [])]).toEqual([-1, -1, -1])
    expect((await optim).metrics).toEqual({ loss: 1 })
    const sent = (route: string) => server.asked.find(({ path }) => path === `/api/v1/${route}`)?.body
    expect(sent('forward_backward')).toEqual(recordedBody('forward_backward'))
    await training.forward([datum], 'cross_entropy').submitted
    expect(sent('forward')).toEqual(recordedBody('forward'))
    const { path } = await training.saveState('s1')
    expect(path).toMatch(/^twinkle:\/\//)
    await service.close()
  })

  it('samples there', async () => {
    const server = new OlderTwinkle()
    const service = initTinkerCompatClient({ baseUrl: 'http://older', fetch: server.fetch })
    const path = 'twinkle://20261123_233445-tiny_tiny_llm-4925fa40/weights/s1'
    const sampler = await service.createSamplingClient({ modelPath: path })
    expect(server.asked.find(({ path }) => path.endsWith('create_sampling_session'))?.body).toMatchObject({
      model_path: path,
    })
    const { sequences } = await sampler.sample({
      prompt: ModelInput.fromInts([1, 2]),
      numSamples: 2,
      samplingParams: { maxTokens: 4, temperature: 0.7 },
    })
    expect(sequences.map(({ tokens, stopReason }) => [tokens, stopReason])).toEqual([
      [[5, 6], 'stop'],
      [[5, 6], 'stop'],
    ])
  })
})

describe('a real server', () => {
  it('trains for unchanged code whose key has no prefix', async () => {
    const server = await startServerProcess()
    try {
      initTinkerClient({ baseUrl: server.url, apiKey: 'no-prefix' })
      const service = new ServiceClient()
      const training = await service.createLoraTrainingClient({ baseModel: 'twinkle/tiny', rank: 4 })
      const { path } = await training.saveState('compat')
      await training.loadState(path.replace('tinker://', 'twinkle://'))
      const runs = await service.createRestClient().listTrainingRuns()
      expect(runs.trainingRuns).toHaveLength(1)
      await service.close()
    } finally {
      await server.stop()
    }
  })

  it('that is none of ours is said to be none', async () => {
    const stranger = createServer((_, answer) => answer.end('<html>hello</html>'))
    await new Promise<void>((resolve) => stranger.listen(0, '127.0.0.1', resolve))
    const { port } = stranger.address() as { port: number }
    const service = initTinkerCompatClient({ scope: 'client', baseUrl: `127.0.0.1:${port}` })
    await expect(ask(service)).rejects.toThrow(/not JSON|no Tinker server|not a Tinker server/)
    stranger.close()
  })
})
