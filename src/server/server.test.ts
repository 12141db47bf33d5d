// The whole server over loopback HTTP with a fake engine: what every client relies on, whichever SDK it is.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { problemWithAnswer } from '../../openapi/answers.ts'
import { registerBackend } from '../backends/registry.ts'
import { type FakeBackend, fakeBackend } from '../backends/testing/fake-backend.ts'
import type { OperationId } from '../generated/operations.ts'
import { tinker_public } from '../generated/tinker-proto.js'
import { loadConfig } from './config.ts'
import { type RunningServer, startServer } from './server.ts'
import { newDatabase, type TestDatabase } from './store/testing/databases.ts'

const CHECKPOINT = join(import.meta.dirname, '../backends/transformers/goldens/llama-tied/checkpoint')

let stateDir: string
let database: TestDatabase
let backend: FakeBackend
let server: RunningServer

beforeEach(async () => {
  stateDir = mkdtempSync(join(tmpdir(), 'twinkle-server-'))
  database = await newDatabase()
  backend = fakeBackend()
  registerBackend(backend)
  await start()
})
afterEach(async () => {
  await server.close()
  await database.remove()
  rmSync(stateDir, { recursive: true })
})

async function start(env: Record<string, string> = {}) {
  const flags = { stateDir, database: database.url, port: 0, models: [`org/tiny=${CHECKPOINT}`] }
  const { config } = await loadConfig({ flags, env })
  const models = config.models.filter((m) => m.name === 'org/tiny')
  server = await startServer({ ...config, models, backend: 'fake', holdSeconds: 1 }, pino({ level: 'silent' }))
}

interface Sent {
  readonly key?: string
  readonly accept?: string
  readonly type?: string
}

async function send(path: string, body: unknown, { key = 'tml-anna', accept, type }: Sent = {}) {
  const isBytes = body instanceof Uint8Array
  return fetch(`${server.url}/api/v1/${path}`, {
    method: body === undefined ? 'GET' : 'POST',
    headers: {
      ...(key && { 'x-api-key': key }),
      ...(accept && { accept }),
      ...(body !== undefined && { 'content-type': type ?? (isBytes ? 'application/x-protobuf' : 'application/json') }),
    },
    ...(body !== undefined && { body: isBytes ? new Uint8Array(body) : JSON.stringify(body) }),
  })
}

// biome-ignore lint/suspicious/noExplicitAny: answers are held against the document, at run time
type Json = any

/** Sends, checks the answer against the document, and gives its JSON. */
async function call(operation: OperationId, path: string, body?: unknown, sent?: Sent): Promise<Json> {
  const answer = await send(path, body, sent)
  const json = await answer.json()
  expect(problemWithAnswer(operation, answer.status, json)).toBeUndefined()
  return json
}

/** Asks again on 408, as every SDK does. */
async function result(id: string): Promise<Json> {
  for (;;) {
    const answer = await send('retrieve_future', { request_id: id })
    if (answer.status === 408) continue
    const json = await answer.json()
    expect(problemWithAnswer('retrieveFuture', answer.status, json)).toBeUndefined()
    return json
  }
}

async function newModel(): Promise<string> {
  const { session_id } = await call('createSession', 'create_session', { tags: [], user_metadata: {} })
  const body = { session_id, model_seq_id: 0, base_model: 'org/tiny', lora_config: { rank: 4 } }
  const { request_id } = await call('createModel', 'create_model', body)
  const { model_id } = await result(request_id)
  expect(model_id).toBe(`${session_id}:train:0`)
  return model_id
}

const jsonPass = (model_id: string, seq_id: number, loss_fn = 'cross_entropy') => ({
  model_id,
  seq_id,
  forward_backward_input: {
    data: [
      {
        model_input: { chunks: [{ tokens: [1, 2, 3] }] },
        loss_fn_inputs: { target_tokens: { data: [2, 3, 4], dtype: 'int64' } },
      },
    ],
    loss_fn,
  },
})

describe('the door', () => {
  it('wants a key, and says which header it belongs in', async () => {
    const answer = await send('create_session', { tags: [] }, { key: '' })
    expect(answer.status).toBe(401)
    expect(await answer.json()).toMatchObject({ code: 'MISSING_KEY', detail: expect.stringContaining('X-API-Key') })
  })

  it('takes any key on a loopback server without keys, and only the configured ones otherwise', async () => {
    expect((await send('client/config', {}, { key: 'tml-whatever' })).status).toBe(200)
    await server.close()
    await start({ TWINKLE_KEYS: 'tml-anna' })
    expect((await send('client/config', {}, { key: 'tml-whatever' })).status).toBe(401)
    expect((await send('client/config', {}, { key: 'tml-anna' })).status).toBe(200)
  })

  it('ends the connection on which the SDK asked for its flags: it forgets it unclosed, and that harms later ones', async () => {
    expect((await send('client/config', {})).headers.get('connection')).toBe('close')
    expect((await send('client/dynamic_config', {})).headers.get('connection')).toBe('keep-alive')
  })

  it('names near routes for unknown ones', async () => {
    const unknown = await send('create_sesion', {})
    expect(unknown.status).toBe(404)
    expect(((await unknown.json()) as Json).detail).toContain('create_session')
  })

  it('answers 400s with a body and its length, or the SDK takes them for a proxy’s', async () => {
    const answer = await send('create_model', { session_id: 7, model_seq_id: 0, base_model: 'org/tiny' })
    expect(answer.status).toBe(400)
    expect(Number(answer.headers.get('content-length'))).toBeGreaterThan(0)
    expect(((await answer.json()) as Json).detail).toContain('session_id')
  })
})

describe('what would be taken for something else', () => {
  it('is refused by name: a seed beyond 64 bits, an optimiser that is not adamw', async () => {
    const { session_id } = await call('createSession', 'create_session', {})
    const create = (changes: object) =>
      send('create_model', { session_id, model_seq_id: 0, base_model: 'org/tiny', ...changes })
    const seed = await create({ lora_config: { rank: 4, seed: '18446744073709551623' } })
    expect([seed.status, ((await seed.json()) as Json).code]).toEqual([400, 'INVALID_SEED'])
    const optimizer = await create({ optimizer_config: { type: 'adam' } })
    expect([optimizer.status, ((await optimizer.json()) as Json).code]).toEqual([400, 'UNKNOWN_OPTIMIZER'])
    const model_id = await newModel()
    const step = await send('optim_step', { model_id, seq_id: 1, optimizer_params: { type: 'adam' } })
    expect([step.status, ((await step.json()) as Json).code]).toEqual([400, 'UNKNOWN_OPTIMIZER'])
    expect((await send('optim_step', { model_id, seq_id: 2 })).status).toBe(200)
  })
})

describe('a training run', () => {
  it('is told what it needs at creation: name, tokenizer, rank', async () => {
    const model_id = await newModel()
    const info = await call('getInfo', 'get_info', { model_id })
    expect(info).toMatchObject({
      model_id,
      lora_rank: 4,
      is_lora: true,
      model_data: { model_name: 'org/tiny', tokenizer_id: 'org/tiny' },
    })
  })

  it('gets one result as protobuf or as JSON, whichever it accepts', async () => {
    const model_id = await newModel()
    const { request_id } = await call('forwardBackward', 'forward_backward', jsonPass(model_id, 1))
    const json = await result(request_id)
    const answer = await send('retrieve_future', { request_id }, { accept: 'application/x-protobuf' })
    expect(answer.headers.get('content-type')).toBe('application/x-protobuf')
    const proto = tinker_public.ForwardBackwardOutput.decode(new Uint8Array(await answer.arrayBuffer()))
    expect(proto.metrics?.['loss:sum']).toBe(json.metrics['loss:sum'])
    expect(json.loss_fn_outputs[0].logprobs.shape).toEqual([3])
  })

  it('goes on with the next number after a body that was refused, in either encoding', async () => {
    const model_id = await newModel()
    expect((await send('forward_backward', { model_id, seq_id: 1, forward_backward_input: 5 })).status).toBe(400)
    const head = tinker_public.ForwardBackwardRequest.encode({ model_id, seq_id: 2 }).finish()
    expect((await send('forward_backward', Uint8Array.from([...head, 0x1a, 0xff]))).status).toBe(400)
    expect((await send('forward_backward', jsonPass(model_id, 3, 'nonsense'))).status).toBe(400)
    expect((await send('optim_step', { model_id, seq_id: 4, adam_params: { learning_rate: -1 } })).status).toBe(400)
    const { request_id } = await call('forwardBackward', 'forward_backward', jsonPass(model_id, 5))
    expect((await result(request_id)).metrics).toBeDefined()
  })

  it('goes on after bodies that could not even be read', async () => {
    const model_id = await newModel()
    const cut = new TextEncoder().encode(JSON.stringify(jsonPass(model_id, 1)).slice(0, -5))
    expect((await send('forward_backward', cut, { type: 'application/json' })).status).toBe(400)
    const head = tinker_public.ForwardBackwardRequest.encode({ model_id, seq_id: 2 }).finish()
    const large = new Uint8Array(65 * 2 ** 20)
    large.set(head)
    expect((await send('forward_backward', large)).status).toBe(413)
    const { request_id } = await call('forwardBackward', 'forward_backward', jsonPass(model_id, 3))
    expect((await result(request_id)).metrics).toBeDefined()
  })

  it('hears 408 while its result is not there, and the result in the request that was waiting', async () => {
    const model_id = await newModel()
    const gate = backend.engines[0]!.block('train')
    const { request_id } = await call('forwardBackward', 'forward_backward', jsonPass(model_id, 1))
    await gate.entered
    const early = await send('retrieve_future', { request_id })
    expect(early.status).toBe(408)
    expect(await early.json()).toMatchObject({ queue_state: 'active' })
    const waiting = result(request_id)
    gate.open()
    expect((await waiting).metrics).toBeDefined()
  })

  it('hears of a business failure as 200 with a lower-case category', async () => {
    const model_id = await newModel()
    const save = async (seq_id: number) =>
      (await call('saveWeights', 'save_weights', { model_id, path: 'a', seq_id })).request_id
    await result(await save(1))
    const failed = await send('retrieve_future', { request_id: await save(2) })
    expect(failed.status).toBe(200)
    expect(await failed.json()).toMatchObject({ category: 'user', error: expect.stringContaining('/weights/a') })
  })
})

describe('a sampler', () => {
  it('gets one sequence id for each sequence, and seeds and numbers beyond 2^53 exactly', async () => {
    const { session_id } = await call('createSession', 'create_session', {})
    const open = { session_id, sampling_session_seq_id: 0, base_model: 'org/tiny' }
    const { sampling_session_id } = await call('createSamplingSession', 'create_sampling_session', open)
    const body = `{"sampling_session_id":"${sampling_session_id}","seq_id":189992462000000001,"num_samples":2,
      "prompt":{"chunks":[{"tokens":[1,2]}]},"sampling_params":{"max_tokens":3,"seed":9223372036854775807,"stop":[]}}`
    const post = () =>
      fetch(`${server.url}/api/v1/asample`, {
        method: 'POST',
        headers: { 'x-api-key': 'tml-anna', 'content-type': 'application/json' },
        body,
      }).then((answer): Promise<Json> => answer.json())
    const submitted = await post()
    expect(submitted.sample_sequence_ids).toEqual([0, 1].map((i) => `${sampling_session_id}:189992462000000001:${i}`))
    expect(await post()).toEqual(submitted)
    const sample = await result(submitted.request_id)
    expect(sample.sequences.map((s: { tokens: number[] }) => s.tokens.length)).toEqual([3, 3])
    const request = backend.engines[0]!.calls.find((c) => c.op === 'generate')?.arg as { seed: string }
    expect(request.seed).toBe('9223372036854775807')
  })

  it('is refused what it asks for and this server cannot do, by name', async () => {
    const body = { base_model: 'org/tiny', prompt: { chunks: [{ tokens: [1] }] }, record_stability_info: true }
    const answer = await send('asample', { ...body, sampling_params: { max_tokens: 1 } })
    expect(answer.status).toBe(400)
    expect(((await answer.json()) as Json).detail).toContain('record_stability_info')
  })
})

describe('an orderly end', () => {
  it('answers held requests at once and keeps what was acknowledged', async () => {
    const model_id = await newModel()
    const { request_id } = await call('forwardBackward', 'forward_backward', jsonPass(model_id, 1))
    await server.close()
    await start()
    expect((await result(request_id)).metrics).toBeDefined()
  })
})
