// What a user gets when something between this client and its server is wrong: an error that names cause and next step, or,
// where waiting helps, the result all the same.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import sinon from 'sinon'
import { afterEach, describe, expect, it } from 'vitest'
import { tinker_public as pb } from '../../generated/tinker-proto.js'
import {
  ConnectionError,
  InternalServerError,
  ModelInput,
  NotFoundError,
  RestClient,
  ServiceClient,
  TinkerError,
  UnexpectedAnswerError,
} from './index.ts'
import { FakeServer, failure, protobuf } from './testing/fake-server.ts'

let server: Server | undefined
afterEach(async () => {
  sinon.restore()
  server?.closeAllConnections()
  await new Promise((resolve) => (server ? server.close(resolve) : resolve(undefined)))
  server = undefined
})

/** A server of HTTP, and the address that it got. */
async function listening(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  server = createServer(answer)
  await new Promise<void>((resolve) => server!.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const silent = { onMessage: () => {} }

async function failing(promise: PromiseLike<unknown>): Promise<Error> {
  try {
    await promise
  } catch (error) {
    return error as Error
  }
  return new Error('it went through')
}

const datum = { modelInput: ModelInput.fromInts([1]), lossFnInputs: { target_tokens: [2], weights: [1] } }

/** Lets the clock run while a promise that waits on timers settles. */
async function hurried<T>(work: () => Promise<T>): Promise<T> {
  const clock = sinon.useFakeTimers({ toFake: ['setTimeout', 'Date'] })
  let isOver = false
  const promise = work().finally(() => {
    isOver = true
  })
  promise.catch(() => {})
  while (!isOver) {
    await clock.tickAsync(1000)
    await new Promise(setImmediate)
  }
  return promise
}

describe('a wrong address', () => {
  it('is said at once to whoever watches, and after half a minute is an error', async () => {
    const said: string[] = []
    const gone = await listening(() => {})
    await new Promise((resolve) => server!.close(resolve))
    server = undefined
    const options = { baseUrl: gone, apiKey: 'tml-k', onMessage: (_: string, message: string) => said.push(message) }
    const error = await hurried(() => failing(new RestClient(options).listTrainingRuns()))
    expect(error).toBeInstanceOf(ConnectionError)
    expect(error.message).toContain(`${gone}/api/v1/client/config could not be reached: ECONNREFUSED`)
    expect(error.message).toMatch(/Next: .*twinkle serve.*TINKER_BASE_URL.*given up after \d+ attempts/)
    expect(said).toHaveLength(1)
    expect(said[0]).toContain('Trying again for 30 seconds')
  })

  it('that is no address is refused before anything is sent', () => {
    const make = () => new ServiceClient({ baseUrl: 'localhost:8000', apiKey: 'tml-k' })
    expect(make).toThrow('The base URL "localhost:8000" does not start with http:// or https://')
  })

  it('of a server of another kind is named as that', async () => {
    const page = await listening((_, response) => {
      response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>Welcome</title>')
    })
    const error = await failing(new RestClient({ baseUrl: page, apiKey: 'tml-k', ...silent }).listSessions())
    expect(error).toBeInstanceOf(UnexpectedAnswerError)
    expect(error.message).toMatch(/text\/html.*not JSON.*Welcome.*Next: check the base URL/)
  })

  it('of a server without the protocol is named as that', async () => {
    const other = await listening((_, response) => response.writeHead(404).end('404 page not found'))
    const error = await failing(new RestClient({ baseUrl: other, apiKey: 'tml-k', ...silent }).listSessions())
    expect(error).toBeInstanceOf(UnexpectedAnswerError)
    expect(error.message).toMatch(/has no \/api\/v1\/client\/config.*Next: check the base URL/)
    expect(error.cause).toBeInstanceOf(NotFoundError)
  })
})

describe('a key', () => {
  it('with the wrong prefix is refused here, without being repeated', () => {
    const make = () => new ServiceClient({ baseUrl: 'http://a', apiKey: 'sk-secret' })
    expect(make).toThrow(/must start with tml-.*Next: copy the whole key/)
    expect(make).not.toThrow('sk-secret')
  })

  it('that is a token and has expired is refused here', () => {
    const claims = Buffer.from(JSON.stringify({ exp: 1 })).toString('base64url')
    expect(() => new RestClient({ baseUrl: 'http://a', apiKey: `eyJ.${claims}.x` })).toThrow('has expired')
  })
})

describe('a token that the server exchanges for the key', () => {
  const tokenOf = (name: string, seconds: number) => {
    const iat = Math.floor(Date.now() / 1000)
    return `eyJ.${Buffer.from(JSON.stringify({ iat, exp: iat + seconds, sub: name })).toString('base64url')}.x`
  }

  it('is exchanged anew when the server calls it invalid, once for all who were refused', async () => {
    let exchanges = 0
    const fake = new FakeServer()
      .on('client/config', () => ({ pjwt_auth_enabled: true }))
      .on('auth/token', () => ({ jwt: tokenOf(String(++exchanges), 3600) }))
      .on('samplers/a', ({ headers }) =>
        headers.get('x-api-key')?.includes(tokenOf('1', 3600).split('.')[1]!)
          ? failure(401, { 'www-authenticate': 'Bearer error="invalid_token"' })
          : { sampler_id: 'a', base_model: 'm' },
      )
    const rest = new RestClient({ baseUrl: 'http://fake', apiKey: 'tml-k', fetch: fake.fetch, ...silent })
    const answers = await Promise.all([rest.getSampler('a'), rest.getSampler('a'), rest.getSampler('a')])
    expect(answers.map(({ baseModel }) => baseModel)).toEqual(['m', 'm', 'm'])
    expect(exchanges).toBe(2)
    const keys = fake.asked.filter(({ path }) => path === 'auth/token').map(({ headers }) => headers.get('x-api-key'))
    expect(keys).toEqual(['tml-k', 'tml-k'])
  })

  it('is renewed at half of its life', async () => {
    const clock = sinon.useFakeTimers({ toFake: ['Date'], now: Date.now() })
    let exchanges = 0
    const fake = new FakeServer()
      .on('client/config', () => ({ pjwt_auth_enabled: true }))
      .on('auth/token', () => ({ jwt: tokenOf(String(++exchanges), 3600) }))
      .on('samplers/a', () => ({ base_model: 'm' }))
    const rest = new RestClient({ baseUrl: 'http://fake', apiKey: 'tml-k', fetch: fake.fetch, ...silent })
    await rest.getSampler('a')
    clock.tick(1500_000)
    await rest.getSampler('a')
    expect(exchanges).toBe(1)
    clock.tick(500_000)
    await rest.getSampler('a')
    expect(exchanges).toBe(2)
  })
})

describe('waiting for a result', () => {
  it('survives a connection that is dropped in the middle of a long poll', async () => {
    let polls = 0
    const answers: Record<string, object> = {
      'client/config': {},
      'client/dynamic_config': {},
      create_session: { session_id: 's1' },
      create_model: { request_id: 'r1' },
      get_info: { model_id: 's1:train:0', model_data: { model_name: 'org/m' } },
    }
    const url = await listening((request, response) => {
      const path = request.url!.replace('/api/v1/', '')
      if (path !== 'retrieve_future') return void response.end(JSON.stringify(answers[path] ?? {}))
      if (++polls > 1) return void response.end('{"model_id":"s1:train:0"}')
      // Held, as a server holds it, and cut off with half of an answer on its way.
      response.writeHead(200, { 'content-length': '100' }).write('{"model')
      setImmediate(() => request.socket.destroy())
    })
    const service = new ServiceClient({ baseUrl: url, apiKey: 'tml-k', ...silent })
    expect((await service.createLoraTrainingClient({ baseModel: 'org/m' })).modelId).toBe('s1:train:0')
    expect(polls).toBe(2)
  })

  it('goes on through a storm of 5xx, without making it worse', async () => {
    const fake = new FakeServer()
    const training = await fake.client().createLoraTrainingClient({ baseModel: 'm' })
    let storm = 40
    fake.on('retrieve_future', () => (storm-- > 0 ? failure(502) : undefined))
    const { result, seconds } = await hurried(async () => {
      const began = Date.now()
      const result = await training.optimStep()
      return { result, seconds: (Date.now() - began) / 1000 }
    })
    expect(result.metrics).toEqual({ 'grad_norm:mean': 1 })
    expect(seconds).toBeGreaterThan(600)
  })

  it('names a result that is none', async () => {
    const fake = new FakeServer()
    const training = await fake.client().createLoraTrainingClient({ baseModel: 'm' })
    fake.on('retrieve_future', () => ({ metrics: {} }))
    expect((await failing(training.forwardBackward([datum], 'cross_entropy'))).message).toMatch(/came as JSON.*Next:/)
    expect((await failing(training.saveState('a'))).message).toMatch(/path is missing instead of a string/)
    fake.on('retrieve_future', () => protobuf(new Uint8Array([255, 255, 255])))
    const damaged = await failing(training.forwardBackward([datum], 'cross_entropy'))
    expect(damaged).toBeInstanceOf(UnexpectedAnswerError)
    expect(damaged.message).toMatch(/no ForwardBackwardOutput.*Next: ask again/)
  })
})

describe('a result that claims to be larger than anything', () => {
  const bytesOf = (message: pb.ForwardBackwardOutput.$Properties) => pb.ForwardBackwardOutput.encode(message).finish()

  it('of training is not believed', async () => {
    const fake = new FakeServer()
    const training = await fake.client().createLoraTrainingClient({ baseModel: 'm' })
    fake.on('retrieve_future', () => protobuf(bytesOf({ loss_fn_outputs: [{ num_datums: 2 ** 40 }] })))
    const error = await failing(training.forwardBackward([datum], 'cross_entropy'))
    expect(error).toBeInstanceOf(UnexpectedAnswerError)
    expect(error.message).toContain('claims to be about 1099511627776 data')
  })

  it('of sampling is not believed', async () => {
    const topk_prompt_logprobs = { k: 3, length: 2 ** 31 }
    const bytes = pb.SampleResponse.encode({ sequences: [{}], topk_prompt_logprobs }).finish()
    const fake = new FakeServer().on('retrieve_future', () => protobuf(bytes))
    const sampler = await fake.client().createSamplingClient({ baseModel: 'm' })
    const error = await failing(sampler.sample({ prompt: ModelInput.fromInts([1]) }))
    expect(error).toBeInstanceOf(UnexpectedAnswerError)
    expect(error.message).toContain('are not 2147483648 rows of 3')
  })
})

describe('a submission', () => {
  it('is repeated through a storm of 5xx for five minutes, and then says so', async () => {
    const fake = new FakeServer()
    const training = await fake.client().createLoraTrainingClient({ baseModel: 'm' })
    fake.on('optim_step', () => failure(503))
    const error = await hurried(() => failing(training.optimStep()))
    expect(error).toBeInstanceOf(InternalServerError)
    expect(error.message).toMatch(/^503: status 503 \(given up after \d+ attempts in \d+ s\)$/)
    const numbers = new Set(fake.bodies('optim_step').map((body) => body.seq_id))
    expect([...numbers]).toEqual([1])
  })

  it('waits out that the account cannot pay, and says once a minute why', async () => {
    const said: string[] = []
    const fake = new FakeServer()
    const training = await fake
      .client({ onMessage: (_, message) => said.push(message) })
      .createLoraTrainingClient({ baseModel: 'm' })
    let refusals = 20
    fake.on('optim_step', () => (refusals-- > 0 ? failure(402) : undefined))
    await hurried(async () => void (await training.optimStep()))
    expect(said.filter((message) => message.includes('billing'))).toHaveLength(2)
  })

  it('that is acknowledged without a number is an error that names the field', async () => {
    const fake = new FakeServer().on('create_model', () => ({ id: 7 }))
    const error = await failing(fake.client().createLoraTrainingClient({ baseModel: 'm' }))
    expect(error).toBeInstanceOf(UnexpectedAnswerError)
    expect(error.message).toMatch(/create_model has a shape .*request_id is missing instead of a string.*Next:/)
  })
})

it('a route that an old server does not have is named, with what can be done', async () => {
  const fake = new FakeServer().on('sessions/search', () => new Response('Not Found', { status: 404 }))
  const rest = new RestClient({ baseUrl: 'http://fake', apiKey: 'tml-k', fetch: fake.fetch, ...silent })
  const error = await failing(rest.searchSessions())
  expect(error).toBeInstanceOf(NotFoundError)
  expect(error.message).toMatch(/sessions\/search is not there.*Next: .*too old/)
})

it('what the server says of the future of a call is passed on, once', async () => {
  const said: string[] = []
  const fake = new FakeServer().on('samplers/a', () =>
    Response.json({ base_model: 'm' }, { headers: { 'x-deprecation-note': 'move on' } }),
  )
  const onMessage = (level: string, message: string) => said.push(`${level}: ${message}`)
  const rest = new RestClient({ baseUrl: 'http://fake', apiKey: 'tml-k', fetch: fake.fetch, onMessage })
  await rest.getSampler('a')
  await rest.getSampler('a')
  expect(said).toEqual(['warning: move on'])
})

it('a client that was closed says so', async () => {
  const service = new FakeServer().client()
  await service.close()
  const error = await failing(service.createSamplingClient({ baseModel: 'm' }))
  expect(error).toBeInstanceOf(TinkerError)
  expect(error.message).toContain('make a new ServiceClient')
})
