// What a sampling client does beyond one request: repeats, gives up when all is stuck, keeps to limits, waits in company.
import sinon from 'sinon'
import { afterEach, describe, expect, it } from 'vitest'
import { SampleDispatch } from './dispatch.ts'
import { BadRequestError, ConnectionError, ModelInput, SamplingClient, ServiceClient, TimeoutError } from './index.ts'
import { FakeServer, failure } from './testing/fake-server.ts'
import { tokenizerNameOf } from './tokenizer.ts'

afterEach(() => sinon.restore())

const prompt = ModelInput.fromInts([1])
const samplerOf = (server: FakeServer, options = {}) =>
  server.client().createSamplingClient({ baseModel: 'org/m', ...options })

describe('a sample', () => {
  it('is drawn again as often as it takes, unless that is switched off', async () => {
    let losses = 4
    const server = new FakeServer().on('retrieve_future', () => (losses-- > 0 ? failure(410) : undefined))
    const retry = { delayBaseMs: 1, delayMaxMs: 2 }
    const sampler = await samplerOf(server, { retry })
    expect((await sampler.sample({ prompt })).sequences).toHaveLength(1)
    expect(server.bodies('asample').map((body) => body.seq_id)).toEqual([0, 1, 2, 3, 4])
    losses = 1
    const once = await samplerOf(server, { retry: { isEnabled: false } })
    await expect(once.sample({ prompt })).rejects.toMatchObject({ status: 410 })
  })

  it('is not drawn again where the server says so, nor when it was refused', async () => {
    const server = new FakeServer()
      .on('client/config', () => ({ sample_no_retries: true }))
      .on('retrieve_future', () => failure(410))
    await expect((await samplerOf(server)).sample({ prompt })).rejects.toMatchObject({ status: 410 })
    const strict = new FakeServer().on('asample', () => failure(400))
    await expect((await samplerOf(strict)).sample({ prompt })).rejects.toBeInstanceOf(BadRequestError)
    expect(strict.bodies('asample')).toHaveLength(1)
  })

  it('fails when none of its client has come back for too long', async () => {
    const clock = sinon.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
    const server = new FakeServer().on('retrieve_future', () => new Promise(() => {}))
    const sampler = await samplerOf(server, { retry: { progressTimeoutMs: 60_000 } })
    const error = sampler.sample({ prompt }).catch((reason: unknown) => reason)
    await clock.tickAsync(59_000)
    await clock.tickAsync(2000)
    expect(await error).toBeInstanceOf(ConnectionError)
    expect(String(await error)).toContain('No sample came back in 60 s')
  })

  it('can be waited for with a limit, and again after that', async () => {
    let release = () => {}
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    const server = new FakeServer().on('retrieve_future', () => held.then(() => undefined))
    const future = (await samplerOf(server)).sample({ prompt })
    await expect(future.result({ timeoutMs: 5 })).rejects.toBeInstanceOf(TimeoutError)
    release()
    expect((await future.result({ timeoutMs: 60_000 })).sequences).toHaveLength(1)
  })

  it('shares its signal with a hundred others, of which Node does not warn', async () => {
    const warnings: Error[] = []
    const onWarning = (warning: Error) => warnings.push(warning)
    process.on('warning', onWarning)
    const server = new FakeServer().on('retrieve_future', () => new Promise(() => {}))
    const sampler = await samplerOf(server)
    const abort = new AbortController()
    const all = Array.from({ length: 100 }, () => sampler.sample({ prompt, signal: abort.signal }))
    await all.at(-1)!.submitted
    abort.abort(new Error('enough'))
    const reasons = await Promise.all(all.map((each) => each.catch((reason) => (reason as Error).message)))
    await new Promise(setImmediate)
    process.off('warning', onWarning)
    expect(new Set(reasons)).toEqual(new Set(['enough']))
    expect(warnings).toEqual([])
  })

  it('has as many sequence ids as sequences, or none', async () => {
    const server = new FakeServer().on('asample', () => ({ request_id: 'sample#1' }))
    const sampler = await samplerOf(server)
    expect((await sampler.sample({ prompt })).sequences[0]?.sequenceId).toBeUndefined()
    server.on('asample', () => ({ request_id: 'sample#2', sample_sequence_ids: ['a', 'b'] }))
    await expect(sampler.sample({ prompt })).rejects.toThrow('named 2 sequences and sent 1')
  })

  it('is refused here for what every server would refuse', async () => {
    const sampler = await samplerOf(new FakeServer())
    const floats = { data: [1], dtype: 'float32', shape: [1, 1] } as const
    const cases = [
      [{ promptAltTokensK: -1 }, 'promptAltTokensK must be 0 or greater'],
      [{ promptLogprobsLastN: 1 }, 'set includePromptLogprobs'],
      [{ promptLogprobsLastN: 0, includePromptLogprobs: true }, 'must be 1 or greater'],
      [{ targetPromptLogprobs: floats }, 'must be an int64 tensor'],
    ] as const
    for (const [request, problem] of cases)
      await expect(sampler.sample({ prompt, ...request })).rejects.toThrow(problem)
    await expect(sampler.sample({ prompt, promptAltTokensK: 2 })).rejects.toThrow('it may be too old')
  })
})

describe('dispatch', () => {
  it('lets four hundred go at once, and ten after the server has asked for less', async () => {
    const clock = sinon.useFakeTimers({ toFake: ['setTimeout', 'Date'], now: 1e12 })
    const dispatch = new SampleDispatch(1e9)
    let underWay = 0
    const forever = () => {
      underWay++
      return new Promise<void>(() => {})
    }
    for (let i = 0; i < 500; i++) void dispatch.pass(10, forever)
    await clock.tickAsync(1)
    expect(underWay).toBe(400)
    const throttled = new SampleDispatch(1e9)
    throttled.backOff(10)
    underWay = 0
    for (let i = 0; i < 50; i++) void throttled.pass(10, forever)
    await clock.tickAsync(1)
    expect(underWay).toBe(10)
  })

  it('pauses for a second after a small prompt, for five after a large one', async () => {
    const clock = sinon.useFakeTimers({ toFake: ['setTimeout', 'Date'], now: 1e12 })
    const dispatch = new SampleDispatch(1e9)
    const paused = async (bytes: number) => {
      dispatch.backOff(bytes)
      const start = Date.now()
      const over = dispatch.resumed().then(() => Date.now() - start)
      await clock.tickAsync(6000)
      return over
    }
    expect([await paused(1000), await paused(200_000)]).toEqual([1000, 5000])
  })
})

it('samples that are waited for together all fail when the waiting does', async () => {
  const server = new FakeServer()
    .on('client/config', () => ({ sample_use_retrieve_futures: true }))
    .on('retrieve_futures', () => failure(403))
  const sampler = await samplerOf(server)
  const drawn = await Promise.allSettled([1, 2, 3].map(() => sampler.sample({ prompt })))
  expect(drawn.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected'])
  await expect(sampler.sample({ prompt })).rejects.toThrow(/Waiting for samples of s1:sample:0 failed: 403/)
})

it('a handle that is none is named as that', () => {
  for (const text of ['', 'not base64!', btoa('{}')]) {
    expect(() => SamplingClient.fromSamplerHandle(text, { apiKey: 'tml-k' })).toThrow('no sampler handle')
  }
})

describe('a tokenizer', () => {
  it('is looked for on the server and then at the hub, without the key, and the error names both', async () => {
    sinon.stub(process, 'env').value({ HF_ENDPOINT: 'http://hub.test/' })
    const asked: { url: string; key: string | null }[] = []
    const server = new FakeServer()
    const fetch = async (url: string, init: RequestInit) => {
      if (!url.includes('/resolve/')) return server.fetch(url, init)
      asked.push({ url, key: new Headers(init.headers).get('x-api-key') })
      return new Response('no', { status: 404 })
    }
    const access = { baseUrl: 'http://fake', apiKey: 'tml-secret', fetch, onMessage: () => {} }
    const sampler = await new ServiceClient(access).createSamplingClient({ baseModel: 'org/m:variant' })
    await expect(sampler.getTokenizer()).rejects.toThrow(/Neither http:\/\/fake nor http:\/\/hub.test has .* of org\/m/)
    expect(asked[0]).toEqual({ url: 'http://fake/org/m/resolve/main/tokenizer.json', key: 'tml-secret' })
    expect(asked.at(-1)).toEqual({ url: 'http://hub.test/org/m/resolve/main/chat_template.jinja', key: null })
  })

  it('has the name that the Python SDK gives it', () => {
    const names = ['org/m', 'org/m:latest', 'org/m/variant', 'meta-llama/Llama-3.1-8B']
    expect(names.map(tokenizerNameOf)).toEqual([
      'org/m',
      'org/m',
      'org/m',
      'thinkingmachineslabinc/meta-llama-3-instruct-tokenizer',
    ])
  })
})

it('settings of the environment begin the session', async () => {
  const env = {
    TINKER_BASE_URL: 'http://fake',
    TINKER_API_KEY: 'tml-env',
    TINKER_PROJECT_ID: 'p7',
    TINKER_TAGS: 'a,b,a',
  }
  sinon.stub(process, 'env').value(env)
  const server = new FakeServer()
  await new ServiceClient({ fetch: server.fetch }).createSamplingClient({ baseModel: 'm' })
  expect(server.bodies('create_session')[0]).toMatchObject({ project_id: 'p7', tags: ['a', 'b'] })
  expect(server.asked[0]?.headers.get('x-api-key')).toBe('tml-env')
})
