import { once } from 'node:events'
import http from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { gzipSync } from 'node:zlib'
import Koa from 'koa'
import pino from 'pino'
import { Registry } from 'prom-client'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Operation, operations } from '../../generated/operations.ts'
import type { ServiceError } from '../errors.ts'
import { accessLog } from './access-log.ts'
import { BodyBudget } from './body-budget.ts'
import { errorBoundary } from './error-boundary.ts'
import type { Call, Result } from './handler.ts'
import { httpMetrics } from './metrics.ts'
import { requestId } from './request-id.ts'
import { createRouter, type RouterParts } from './router.ts'
import type { RequestState } from './state.ts'

const MAX_BODY = 100_000
const MAX_JSON = 50_000
const KEY = 'tml-secret'

const TESTED = [
  'createSession',
  'finishSession',
  'forwardBackward',
  'retrieveFuture',
  'getSampler',
  'liveness',
  'hubFile',
  'saveWeightsExternal',
] as const
const table: Record<string, Operation> = {
  ...Object.fromEntries(TESTED.map((id) => [id, operations[id]])),
  // One that is planned, whatever the document says of it today.
  saveWeightsExternal: { ...operations.saveWeightsExternal, planned: true },
  getSampler: { ...operations.getSampler, aliases: ['/old/sampler/*sampler_id/get'] },
}

const shapeOf = (operation: string) =>
  operation === 'finishSession' ? ({ code }: ServiceError) => ({ said: code }) : undefined

let server: http.Server
let url: string
let budget: BodyBudget
let registry: Registry
let lines: Record<string, unknown>[]
let calls: Call<never>[]
let refused: unknown[]
/** What the next retrieve_future does. */
let retrieve: (call: Call<'retrieveFuture'>) => Promise<Result<'retrieveFuture'>>

beforeEach(async () => {
  budget = new BodyBudget(200_000, 150_000)
  registry = new Registry()
  lines = []
  calls = []
  refused = []
  retrieve = async () => ({ metrics: null })
  const note = <T>(answer: T) => {
    return async (call: unknown) => {
      calls.push(call as Call<never>)
      return answer
    }
  }
  const parts: RouterParts = {
    authenticate: async (key) => (key === KEY ? { id: 'tenant-1', role: 'member', key: 'key-1' } : null),
    budget,
    maxBodyBytes: MAX_BODY,
    maxJsonBytes: MAX_JSON,
    onRefused: (refusal) => refused.push(refusal),
  }
  const log = pino({ level: 'debug', base: null }, { write: (line: string) => lines.push(JSON.parse(line)) })
  const app = new Koa<RequestState>()
  app.silent = true
  app.use(requestId()).use(accessLog(log)).use(httpMetrics(registry, budget)).use(errorBoundary(shapeOf))
  app.use(
    createRouter(
      table,
      {
        createSession: note({ session_id: 's', type: 'create_session' as const }),
        finishSession: note({}),
        forwardBackward: note({ request_id: 'r' }),
        retrieveFuture: (call: Call<'retrieveFuture'>) => retrieve(call),
        getSampler: note({ sampler_id: 's', base_model: 'm' }),
        liveness: note({ status: 'ok' as const }),
        hubFile: note({ contentType: 'text/plain', bytes: Buffer.from('hello'), headers: { etag: '"1"' } }),
      },
      parts,
    ),
  )
  server = http.createServer(app.callback()).listen(0, '127.0.0.1')
  await once(server, 'listening')
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})

afterEach(async () => {
  server.closeAllConnections()
  server.close()
  await once(server, 'close')
})

const headers = { 'x-api-key': KEY, 'content-type': 'application/json' }

async function post(path: string, body: string | Uint8Array | null, more: Record<string, string> = {}) {
  const response = await fetch(`${url}/api/v1/${path}`, { method: 'POST', headers: { ...headers, ...more }, body })
  return {
    status: response.status,
    headers: response.headers,
    body: (await response.json()) as Record<string, unknown>,
  }
}

const session = JSON.stringify({ tags: [], user_metadata: {}, sdk_version: '0.38.0' })

describe('a good request', () => {
  it('reaches its handler with tenant, parameters and body, and gets its answer', async () => {
    const { status, body, headers } = await post('create_session', session)
    expect(status).toBe(200)
    expect(body).toEqual({ session_id: 's', type: 'create_session' })
    expect(headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/)
    expect(calls[0]).toMatchObject({
      tenant: { id: 'tenant-1', role: 'member', key: 'key-1' },
      body: { sdk_version: '0.38.0' },
    })
  })

  it('may have colons in its path', async () => {
    await fetch(`${url}/api/v1/samplers/sess-1:sample:0`, { headers })
    await fetch(`${url}/api/v1/samplers/${encodeURIComponent('a/b c')}`, { headers })
    expect(calls.map((call) => call.params)).toEqual([{ sampler_id: 'sess-1:sample:0' }, { sampler_id: 'a/b c' }])
  })

  it('may come by another path of the same operation', async () => {
    const answer = await fetch(`${url}/old/sampler/org/tiny/get`, { headers })
    expect(await answer.json()).toEqual({ sampler_id: 's', base_model: 'm' })
    expect(calls[0]?.params).toEqual({ sampler_id: 'org/tiny' })
    expect(lines).toMatchObject([{ operation: 'getSampler' }])
  })

  it.each([
    [{ authorization: `Bearer ${KEY}` }],
    [{ authorization: `bearer  ${KEY}` }],
    // As proxies do that keep their own users out.
    [{ authorization: 'Basic dTpw', 'x-api-key': KEY }],
    [{ authorization: 'Bearer other', 'x-api-key': KEY }],
    [{ authorization: 'Bearer other', 'twinkle-authorization': `Bearer ${KEY}` }],
    [{ 'x-api-key': 'other', 'twinkle-authorization': KEY }],
  ])('may have its key in %j', async (key) => {
    expect((await fetch(`${url}/api/v1/samplers/a`, { headers: key as Record<string, string> })).status).toBe(200)
  })

  it('keeps 64-bit integers as their digits', async () => {
    const body = { model_id: 'm', seq_id: 1, forward_backward_input: { data: [], loss_fn: 'ppo' } }
    await post('forward_backward', JSON.stringify(body).replace('"seq_id":1', '"seq_id":189992462000000001'))
    expect(calls[0]?.body).toMatchObject({ seq_id: '189992462000000001' })
  })

  it('may be protobuf, which the handler gets as bytes', async () => {
    const bytes = Uint8Array.from({ length: 90_000 }, (_, i) => i)
    const { status } = await post('forward_backward', bytes, { 'content-type': 'application/x-protobuf' })
    expect(status).toBe(200)
    expect(Buffer.compare(calls[0]?.body as unknown as Uint8Array, bytes)).toBe(0)
  })

  it('may be sent in chunks of unknown length', async () => {
    const body = new ReadableStream({
      start(controller) {
        for (const part of [session.slice(0, 9), session.slice(9)]) controller.enqueue(Buffer.from(part))
        controller.close()
      },
    })
    const init = { method: 'POST', headers, body, duplex: 'half' } as RequestInit
    expect((await fetch(`${url}/api/v1/create_session`, init)).status).toBe(200)
    expect(budget.used).toBe(0)
  })

  it('may be compressed', async () => {
    // A frame of one block that is stored as it is.
    const block = [(session.length << 3) | 1, session.length >> 5, 0]
    const zstd = Buffer.concat([Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, 0x38, ...block]), Buffer.from(session)])
    const encoded = { zstd, gzip: gzipSync(session) }
    for (const [encoding, body] of Object.entries(encoded)) {
      const { status } = await post('create_session', body, { 'content-encoding': encoding })
      expect(status).toBe(200)
      expect(calls.pop()?.body).toMatchObject({ sdk_version: '0.38.0' })
    }
    expect(budget.used).toBe(0)
  })

  it('keeps the id that its sender gave it, if that is a harmless one', async () => {
    expect((await post('create_session', session, { 'x-request-id': 'mine-1' })).headers.get('x-request-id')).toBe(
      'mine-1',
    )
    const strange = await post('create_session', session, { 'x-request-id': 'a b"c' })
    expect(strange.headers.get('x-request-id')).not.toBe('a b"c')
  })

  it('gets bytes, headers and statuses of the handler', async () => {
    const file = await fetch(`${url}/org/tiny/resolve/main/tokenizer.json`)
    expect([await file.text(), file.headers.get('etag'), file.headers.get('content-type')]).toEqual([
      'hello',
      '"1"',
      'text/plain',
    ])
    const head = await fetch(`${url}/org/tiny/resolve/main/tokenizer.json`, { method: 'HEAD' })
    expect([await head.text(), head.headers.get('content-length')]).toEqual(['', '5'])
    retrieve = async () => ({ status: 408, json: { queue_state: 'active' } })
    expect(await post('retrieve_future', '{"request_id":"r"}')).toMatchObject({
      status: 408,
      body: { queue_state: 'active' },
    })
  })
})

describe('a bad request', () => {
  const unkeyed = (path: string, key?: string) =>
    fetch(`${url}${path}`, { method: 'POST', headers: key ? { 'x-api-key': key } : {}, body: session })

  it('without a key, or with a wrong one, is a 401', async () => {
    const missing = await unkeyed('/api/v1/create_session')
    const wrong = await unkeyed('/api/v1/create_session', 'tml-other')
    expect([missing.status, wrong.status]).toEqual([401, 401])
    expect(await missing.json()).toMatchObject({ code: 'MISSING_KEY', detail: expect.stringContaining('X-API-Key') })
    expect(await wrong.json()).toMatchObject({ code: 'WRONG_KEY' })
    expect((await fetch(`${url}/healthz`)).status).toBe(200)
    for (const authorization of [`Basic ${KEY}`, KEY, 'Bearer ', `Bearer ${KEY} x`]) {
      const headers = { authorization }
      expect((await fetch(`${url}/api/v1/samplers/a`, { headers })).status, authorization).toBe(401)
    }
  })

  it('is refused in the form that its protocol has for errors', async () => {
    const { body } = await post('finish_session', '{')
    expect(body).toMatchObject({ detail: expect.any(String) })
    const other = await fetch(`${url}/api/v1/sessions/s/finish`, { method: 'POST', headers, body: '{' })
    expect([other.status, await other.json()]).toEqual([400, { said: 'MALFORMED_JSON' }])
  })

  it('names the field, what was expected, and its own id', async () => {
    const { status, body, headers } = await post('create_session', '{"tags":"x","user_metadata":{},"sdk_version":"1"}')
    expect(status).toBe(400)
    expect(body.detail).toMatch(/tags must be a list, but is "x"/)
    expect(body).toMatchObject({ code: 'INVALID_BODY', request_id: headers.get('x-request-id') })
    expect(Number(headers.get('content-length'))).toBe(JSON.stringify(body).length)
  })

  it('is reported with its body, so that its sequence number can count as used', async () => {
    await post('forward_backward', '{"model_id":"m","seq_id":7}')
    expect(refused).toEqual([
      {
        operation: 'forwardBackward',
        tenant: { id: 'tenant-1', role: 'member', key: 'key-1' },
        body: { model_id: 'm', seq_id: 7 },
      },
    ])
    expect(calls).toEqual([])
  })

  it.each([
    ['broken JSON', '{', {}, 'MALFORMED_JSON', 400],
    ['an empty body', '', {}, 'INVALID_BODY', 400],
    ['a list', '[]', {}, 'INVALID_BODY', 400],
    ['another type', 'x=1', { 'content-type': 'application/x-www-form-urlencoded' }, 'UNSUPPORTED_MEDIA_TYPE', 415],
    ['protobuf where JSON is spoken', 'x', { 'content-type': 'application/x-protobuf' }, 'UNSUPPORTED_MEDIA_TYPE', 415],
    ['an unknown encoding', 'x', { 'content-encoding': 'br' }, 'UNSUPPORTED_CONTENT_ENCODING', 415],
    ['gzip that is none', 'x', { 'content-encoding': 'gzip' }, 'MALFORMED_GZIP', 400],
    ['zstd that is none', 'x', { 'content-encoding': 'zstd' }, 'MALFORMED_ZSTD', 400],
    ['a gzip bomb', gzipSync(Buffer.alloc(2 ** 24)), { 'content-encoding': 'gzip' }, 'DECODED_BODY_TOO_LARGE', 413],
    ['too much JSON', ' '.repeat(MAX_JSON + 1), {}, 'BODY_TOO_LARGE', 413],
    ['nested JSON', '['.repeat(9000), {}, 'BODY_TOO_COMPLEX', 413],
  ])('with %s is refused, and the next one is served', async (_, body, more, code, status) => {
    const refusal = await post('retrieve_future', body, more)
    expect(refusal).toMatchObject({ status, body: { code, detail: expect.stringMatching(/\.$/) } })
    expect(budget.used).toBe(0)
    expect((await post('create_session', session)).status).toBe(200)
  })

  it('to a path that is not there is told what there is', async () => {
    const missing = await fetch(`${url}/api/v1/create_sesion`, { headers })
    expect(await missing.json()).toMatchObject({
      code: 'NOT_FOUND',
      detail: 'There is no GET /api/v1/create_sesion here. Did you mean /api/v1/create_session?',
    })
    const wrong = await fetch(`${url}/api/v1/create_session`, { headers })
    expect([wrong.status, wrong.headers.get('allow')]).toEqual([405, 'POST'])
    expect(await wrong.json()).toMatchObject({ code: 'METHOD_NOT_ALLOWED', detail: expect.stringContaining('POST') })
  })

  it('for a planned operation is told so', async () => {
    const { status, body } = await post('save_weights_external', '{}')
    expect([status, body.code]).toEqual([404, 'PLANNED_OPERATION'])
    expect(body.detail).toContain('saveWeightsExternal')
  })

  it('learns nothing from an error that nobody foresaw; the log does', async () => {
    retrieve = async () => {
      throw new Error('secret path')
    }
    const { status, body } = await post('retrieve_future', '{"request_id":"r"}')
    expect([status, body.code]).toEqual([500, 'INTERNAL'])
    expect(JSON.stringify(body)).not.toContain('secret')
    expect(lines.at(-1)).toMatchObject({ level: 50, request: body.request_id, err: { message: 'secret path' } })
  })
})

describe('bodies over the limits', () => {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })

  /** One request on the only connection of the agent. */
  function send(body: Buffer, chunked: boolean) {
    return new Promise<{ status: number; port: number; body: string }>((resolve, reject) => {
      const length = chunked ? {} : { 'content-length': body.length }
      const options = { method: 'POST', agent, headers: { ...headers, ...length } }
      const request = http.request(`${url}/api/v1/create_session`, options, async (response) => {
        const port = response.socket.localPort ?? 0
        const text = Buffer.concat(await response.toArray()).toString()
        resolve({ status: response.statusCode ?? 0, port, body: text })
      })
      request.on('error', reject)
      if (chunked) request.write(body)
      request.end(chunked ? undefined : body)
    })
  }

  it.each([false, true])('are refused, and the connection stays usable (chunked: %s)', async (chunked) => {
    const large = await send(Buffer.alloc(20_000_000, ' '), chunked)
    expect(large.status).toBe(413)
    expect(large.body).toContain('BODY_TOO_LARGE')
    const next = await send(Buffer.from(session), false)
    expect(next).toMatchObject({ status: 200, port: large.port })
    expect(budget.used).toBe(0)
    agent.destroy()
  })

  it('are asked to come again where they are only too many together', async () => {
    const other = budget.lease('tenant-2', budget.share)
    const lease = budget.lease('tenant-3', budget.limit - budget.share - 10)
    const { status, body, headers } = await post('create_session', session)
    expect([status, body.code, headers.get('retry-after')]).toEqual([429, 'BUSY', '1'])
    lease.release()
    other.release()
    expect((await post('create_session', session)).status).toBe(200)
  })

  it('of one tenant do not take what is left for the others', async () => {
    const lease = budget.lease('tenant-1', budget.share - 10)
    const { status, body, headers } = await post('create_session', session)
    expect([status, body.code, headers.get('retry-after')]).toEqual([429, 'TENANT_BUSY', '1'])
    budget.lease('tenant-2', budget.limit - budget.share).release()
    expect(() => budget.lease('tenant-2', budget.share).release()).toThrow(/as many request bytes as it may/)
    lease.release()
    expect((await post('create_session', session)).status).toBe(200)
    expect(budget.used).toBe(0)
  })

  it('give their share back when the client goes away halfway', async () => {
    const socket = connect(Number(new URL(url).port), '127.0.0.1')
    const arrived = once(server, 'request')
    socket.write(
      `POST /api/v1/create_session HTTP/1.1\r\nhost: x\r\nx-api-key: ${KEY}\r\ncontent-type: application/json\r\ncontent-length: 9000\r\n\r\n{"a`,
    )
    const [, response] = (await arrived) as [http.IncomingMessage, http.ServerResponse]
    await expect.poll(() => budget.used).toBe(3)
    const closed = once(response, 'close')
    socket.destroy()
    await closed
    await expect.poll(() => budget.used).toBe(0)
  })
})

describe('a long poll', () => {
  it('is told when its client has gone away', async () => {
    let told: (reason: unknown) => void
    const gone = new Promise((resolve) => {
      told = resolve
    })
    const controller = new AbortController()
    retrieve = ({ request: { signal } }) =>
      new Promise((resolve) => {
        signal.addEventListener('abort', () => {
          told(signal.reason)
          resolve({ metrics: null })
        })
        controller.abort()
      })
    const answer = fetch(`${url}/api/v1/retrieve_future`, {
      method: 'POST',
      headers,
      body: '{"request_id":"r"}',
      signal: controller.signal,
    })
    await expect(answer).rejects.toThrow()
    expect(await gone).toMatchObject({ message: 'the client went away' })
  })

  it('that was answered is not told so', async () => {
    let signal: AbortSignal | undefined
    retrieve = async (call) => {
      signal = call.request.signal
      return { metrics: null }
    }
    await post('retrieve_future', '{"request_id":"r"}')
    server.closeAllConnections()
    expect(signal?.aborted).toBe(false)
  })
})

describe('what is seen of requests', () => {
  it('is one line each, without keys', async () => {
    await post('create_session', session)
    await post('create_session', '{')
    expect(lines).toMatchObject([
      { level: 20, operation: 'createSession', tenant: 'tenant-1', status: 200, bytesIn: session.length },
      { level: 30, operation: 'createSession', status: 400, code: 'MALFORMED_JSON' },
    ])
    expect(JSON.stringify(lines)).not.toContain(KEY)
  })

  it('is counted by operation and status, never by path', async () => {
    await post('create_session', session)
    await fetch(`${url}/nowhere/at/all`)
    const text = await registry.metrics()
    expect(text).toContain('twinkle_http_request_duration_seconds_count{operation="createSession",status="200"} 1')
    expect(text).toContain('twinkle_http_request_duration_seconds_count{operation="none",status="404"} 1')
    expect(text).toContain('twinkle_http_body_bytes 0')
    expect(text).not.toContain('nowhere')
  })
})

it('a router does not start with a handler missing', () => {
  const parts = { authenticate: async () => null, budget, maxBodyBytes: 1, maxJsonBytes: 1 }
  expect(() => createRouter({ liveness: operations.liveness }, {}, parts)).toThrow(/liveness has no handler/)
})
