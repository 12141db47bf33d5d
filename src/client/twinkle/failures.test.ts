// What goes wrong between the native client and whatever is at the other end, and what a user is told of it.

import { type SinonFakeTimers, useFakeTimers } from 'sinon'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { TwinkleClient } from './client.ts'
import type { ConnectionOptions } from './connection.ts'
import { DataLoader, Dataset, InputProcessor } from './data.ts'
import {
  AuthenticationError,
  ConnectionError,
  MissingRouteError,
  NotFoundError,
  StatusError,
  TwinkleError,
  UnexpectedAnswerError,
} from './errors.ts'
import { MultiLoraTransformersModel } from './model.ts'
import { VllmSampler } from './sampler.ts'
import { FakeServer, failed, HANGS, html, status } from './testing/fake-server.ts'

const CAPACITY = { max_loras: 4, used_loras: 1, free_loras: 3 }
const ROW = { input_ids: [1, 2], labels: [2, 3] }

let clock: SinonFakeTimers
let server: FakeServer
beforeEach(() => {
  clock = useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] })
  server = new FakeServer()
})
afterEach(() => clock.restore())

const clientOf = (options: ConnectionOptions = {}) =>
  new TwinkleClient({ baseUrl: 'http://server', apiKey: 'tml-me', fetch: server.fetch, ...options })
const modelOf = () => new MultiLoraTransformersModel('ms://org/model', clientOf().connection)

/** What it rejects with, once every wait is over. */
async function failureOf(promise: Promise<unknown>): Promise<Error> {
  const failure = promise.then(
    () => expect.unreachable('it should have failed'),
    (error: Error) => error,
  )
  await clock.tickAsync(600_000)
  return failure
}

describe('an address', () => {
  it.each(['server:8000', 'ftp://server', 'http://'])('that is none is refused at once: %s', (baseUrl) => {
    expect(() => clientOf({ baseUrl })).toThrow(/is no address of the form http:\/\/HOST:PORT/)
  })

  it('where nobody listens is named, and tried again even by what changes something', async () => {
    server.answers('step', failed('ECONNREFUSED'))
    const error = await failureOf(modelOf().step())
    expect(error).toBeInstanceOf(ConnectionError)
    expect(error.message).toMatch(/http:\/\/server could not be reached \(ECONNREFUSED\).*twinkle serve/)
    expect(server.count('step')).toBe(5)
  })

  it.each([
    ['a page with 200', html(200), UnexpectedAnswerError, /not JSON.*check the base URL/],
    ['a page with 404', html(404), MissingRouteError, /capacity_info is not there/],
    ['JSON of something else', { hello: 'world' }, UnexpectedAnswerError, /without its max_loras/],
    ['nothing', new Response(null, { status: 204 }), UnexpectedAnswerError, /without its max_loras/],
  ])('of another server is told by its answer: %s', async (_, answer, kind, sentence) => {
    server.answers('capacity_info', answer)
    const error = await failureOf(clientOf().getCapacityInfo())
    expect(error).toBeInstanceOf(kind)
    expect(error.message).toMatch(sentence)
    expect(server.count('capacity_info')).toBe(1)
  })

  it.each([
    ['training_runs', (client: TwinkleClient) => client.listTrainingRuns()],
    ['checkpoints', (client: TwinkleClient) => client.listCheckpoints('run')],
    ['get_server_capabilities', (client: TwinkleClient) => client.getServerCapabilities()],
    ['create_session', (client: TwinkleClient) => client.createSession()],
  ])('of something that answers {} is never mistaken: %s', async (operation, ask) => {
    server.answers(operation, {})
    expect(await failureOf(ask(clientOf()))).toBeInstanceOf(UnexpectedAnswerError)
  })
})

describe('a refusal', () => {
  it.each([
    [401, { detail: 'The key is unknown.', code: 'BAD_KEY' }, AuthenticationError, /The key is unknown.*check apiKey/],
    [404, { detail: 'There is no run x.', code: 'UNKNOWN_RUN' }, NotFoundError, /404: There is no run x\./],
    [404, { detail: 'Not Found' }, MissingRouteError, /older than this route/],
    [400, { detail: 'There is no loss Foo.', code: 'UNKNOWN_LOSS' }, StatusError, /^400: There is no loss Foo\.$/],
    [422, { detail: [{ loc: ['body'], msg: 'field required' }] }, StatusError, /field required/],
  ])('keeps the status and the sentence of the server: %s', async (code, body, kind, sentence) => {
    server.answers('training_runs', status(code, body))
    const error = (await failureOf(clientOf().listTrainingRuns())) as StatusError
    expect(error).toBeInstanceOf(kind)
    expect(error).toMatchObject({ status: code, code: (body as { code?: string }).code })
    expect(error.message).toMatch(sentence)
  })

  it('of a model that is not served says so before anything else is asked', async () => {
    server.answers('create', status(404, { detail: 'The model org/model is not served.', code: 'UNKNOWN_MODEL' }))
    expect((await failureOf(modelOf().setLoss('CrossEntropyLoss'))).message).toMatch(/org\/model is not served there/)
    expect(server.count('set_loss')).toBe(0)
  })
})

describe('a connection that breaks', () => {
  it('is not tried again where something may have been changed, and says so', async () => {
    server.answers('forward_backward', failed('ECONNRESET'))
    const error = await failureOf(modelOf().forwardBackward([ROW]))
    expect(error).toBeInstanceOf(ConnectionError)
    expect(error.message).toMatch(/may have done what was asked/)
    expect(server.count('forward_backward')).toBe(1)
  })

  it('is tried again where doing it twice is doing it once', async () => {
    server.answers('forward_only', failed('ECONNRESET'), { result: { loss: 2 } })
    const output = modelOf().forwardOnly([ROW])
    await clock.tickAsync(1000)
    expect(await output).toEqual({ loss: 2 })
  })

  it('while text is drawn ends the iteration by an error', async () => {
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode('{"delta":"a"}\n'))
      },
      pull(controller) {
        controller.error(new TypeError('terminated'))
      },
    })
    const sampler = new VllmSampler('org/model', clientOf({ fetch: streaming(body) }).connection)
    const deltas: string[] = []
    const reading = (async () => {
      for await (const { delta } of sampler.sampleStream(ROW)) deltas.push(delta)
    })()
    const error = await failureOf(reading)
    expect(error).toBeInstanceOf(ConnectionError)
    expect(error.message).toMatch(/ask again/)
  })

  it('is told from a page where lines of JSON belong', async () => {
    server.answers('sample_stream', html(200))
    const sampler = new VllmSampler('org/model', clientOf().connection)
    const first = sampler.sampleStream(ROW)[Symbol.asyncIterator]().next()
    expect(await failureOf(first)).toBeInstanceOf(UnexpectedAnswerError)
  })

  function streaming(body: ReadableStream): NonNullable<ConnectionOptions['fetch']> {
    return (request) =>
      request.url.endsWith('sample_stream') ? Promise.resolve(new Response(body)) : server.fetch(request)
  }
})

describe('a storm of 5xx', () => {
  it('is sat out with longer and longer waits by what is safe', async () => {
    server.answers('capacity_info', status(503, {}), status(502, {}), status(500, {}), CAPACITY)
    const waits: number[] = []
    const asked = clientOf().getCapacityInfo({ onRetry: ({ waitMs }) => waits.push(waitMs) })
    await clock.tickAsync(60_000)
    expect(await asked).toEqual({ maxLoras: 4, usedLoras: 1, freeLoras: 3 })
    expect(waits).toHaveLength(3)
    waits.forEach((wait, i) => {
      expect(wait).toBeGreaterThanOrEqual(500 * 2 ** i * 0.75)
      expect(wait).toBeLessThanOrEqual(500 * 2 ** i)
    })
  })

  it('ends after five attempts with what the server said', async () => {
    server.answers('capacity_info', status(503, { detail: 'The disk is full.' }))
    expect((await failureOf(clientOf().getCapacityInfo())).message).toBe('503: The disk is full.')
    expect(server.count('capacity_info')).toBe(5)
  })

  it.each(['step', 'lr_step', 'forward_backward', 'clip_grad_and_step', 'add_metric', 'save', 'call'])(
    'does not make %s be done twice',
    async (operation) => {
      server.answers(operation, status(500, { detail: 'Oh.' }))
      server.answers('create', { processor_id: 'pid:1', status: 'ok' })
      const model = modelOf()
      const acts: Readonly<Record<string, () => Promise<unknown>>> = {
        step: () => model.step(),
        lr_step: () => model.lrStep(),
        forward_backward: () => model.forwardBackward([ROW]),
        clip_grad_and_step: () => model.clipGradAndStep(),
        add_metric: () => model.addMetric('Accuracy'),
        save: () => model.save('x'),
        call: () => new InputProcessor(clientOf().connection).process([ROW]),
      }
      await failureOf((acts[operation] as () => Promise<unknown>)())
      expect(server.count(operation)).toBe(1)
    },
  )
})

describe('429', () => {
  const full = (seconds: string) => status(429, { detail: 'Too many.' }, { 'retry-after': seconds })

  it('was not done: it is asked again when the server said', async () => {
    server.answers('step', full('7'), { result: null })
    const waits: number[] = []
    const stepped = modelOf().step({}, { onRetry: ({ waitMs }) => waits.push(waitMs) })
    await clock.tickAsync(6_999)
    expect(server.count('step')).toBe(1)
    await clock.tickAsync(1)
    await stepped
    expect(waits).toEqual([7000])
  })

  it('with more than a minute to wait is left to the caller', async () => {
    server.answers('step', full('3600'))
    expect((await failureOf(modelOf().step())).message).toBe('429: Too many.')
    expect(server.count('step')).toBe(1)
  })
})

describe('an abort signal', () => {
  it.each(['create_session', 'create', 'forward_backward'])('ends what hangs at %s', async (operation) => {
    server.answers(operation, HANGS)
    const end = new AbortController()
    const call = modelOf().forwardBackward([ROW], {}, { signal: end.signal })
    const failure = call.catch((error: unknown) => error)
    await clock.tickAsync(10)
    expect(server.count(operation)).toBe(1)
    end.abort(new Error('enough'))
    expect(await failure).toMatchObject({ message: 'enough' })
  })

  it('of one caller is not that of another', async () => {
    server.answers('create', HANGS, { status: 'ok' }).answers('step', { result: null })
    const end = new AbortController()
    const model = modelOf()
    const first = model.step({}, { signal: end.signal }).catch((error: unknown) => error)
    const second = model.zeroGrad().then(
      () => 'done',
      (error: Error) => error.message,
    )
    await clock.tickAsync(10)
    end.abort(new Error('enough'))
    expect(await first).toMatchObject({ message: 'enough' })
    const state = await Promise.race([second, Promise.resolve('waits')])
    expect(state).toBe('waits')
  })

  it('ends the wait between two attempts', async () => {
    server.answers('capacity_info', status(503, {}))
    const end = new AbortController()
    const failure = clientOf()
      .getCapacityInfo({ signal: end.signal })
      .catch((error: unknown) => error)
    await clock.tickAsync(100)
    end.abort(new Error('enough'))
    expect(await failure).toMatchObject({ message: 'enough' })
    expect(server.count('capacity_info')).toBe(1)
  })
})

describe('a session', () => {
  it('begins with the first thing that needs one, and its id goes with everything after', async () => {
    const client = clientOf({ sessionMetadata: { who: 'me' } })
    const model = new MultiLoraTransformersModel('org/model', client.connection)
    server.answers('set_loss', { result: null }).answers('capacity_info', CAPACITY)
    await Promise.all([model.setLoss('CrossEntropyLoss'), client.createSession()])
    await client.getCapacityInfo()
    expect(server.count('create_session')).toBe(1)
    const [first, ...later] = server.asked
    expect(first).toMatchObject({ path: '/api/v1/twinkle/create_session', body: { metadata: { who: 'me' } } })
    expect(first?.headers.get('x-twinkle-session-id')).toBeNull()
    expect(later.map(({ headers }) => headers.get('x-twinkle-session-id'))).toEqual(later.map(() => 'session-1'))
    expect(later[0]?.headers.get('authorization')).toBe('Bearer tml-me')
    expect(later.length).toBe(3)
  })

  it('is kept alive every ten seconds until the client is closed', async () => {
    const client = clientOf()
    server.answers('session_heartbeat', failed('ECONNRESET'), { status: 'ok' })
    await client.createSession()
    await clock.tickAsync(30_000)
    expect(server.count('session_heartbeat')).toBe(3)
    client.close()
    await clock.tickAsync(60_000)
    expect(server.count('session_heartbeat')).toBe(3)
    await expect(client.getCapacityInfo()).rejects.toThrow(/closed/)
  })

  it('that begins while its client is closed is not kept alive', async () => {
    const client = clientOf()
    const begun = client.createSession()
    client.close()
    await begun
    await clock.tickAsync(60_000)
    expect(server.count('session_heartbeat')).toBe(0)
  })
})

describe('what is no plain data', () => {
  const never = () => 0
  it.each([
    ['a function', { weight: never }, /weight is a function.*name of a class of the catalogue/],
    ['one inside', { options: { of: [1, never] } }, /options\.of\[1\] is a function/],
    ['NaN', { beta: Number.NaN }, /beta is NaN.*finite/],
    ['a bigint', { seed: 1n }, /seed is a bigint/],
    ['an object of a class', { when: new Map() }, /when is an object of class Map/],
  ])('is refused by name and never sent: %s', async (_, kwargs, sentence) => {
    await expect(modelOf().setLoss('CrossEntropyLoss', kwargs)).rejects.toThrow(sentence)
    expect(server.count('set_loss')).toBe(0)
  })

  it('is refused of rows, data sets and samplers too', async () => {
    const { connection } = clientOf()
    const rows = [{ input_ids: [1], labels: never }] as never
    await expect(modelOf().forwardBackward(rows)).rejects.toThrow(/inputs\[0\]\.labels/)
    const dataset = new Dataset(connection, { data: [ROW] })
    await expect(dataset.map(never as never)).rejects.toThrow(TwinkleError)
    await expect(new VllmSampler('org/model', connection).sample(rows)).rejects.toThrow(/inputs\[0\]\.labels/)
  })

  it('but typed arrays are lists of numbers', async () => {
    server.answers('forward_backward', { result: { loss: 1 } })
    await modelOf().forwardBackward([ROW], { advantages: Float32Array.of(0.5, -1) })
    expect(server.asked.at(-1)?.body).toMatchObject({ advantages: [0.5, -1], inputs: [ROW] })
  })
})

it('hands remote objects on by their ids', async () => {
  server.answers('create', { processor_id: 'pid:1' }, { processor_id: 'pid:2' })
  const { connection } = clientOf()
  const loader = new DataLoader(connection, new Dataset(connection, { data: [ROW] }), { batchSize: 1 })
  expect(await loader.remote.id).toBe('pid:2')
  expect(server.asked.at(-1)?.body).toMatchObject({ dataset: 'pid:1', batch_size: 1, class_type: 'DataLoader' })
})
