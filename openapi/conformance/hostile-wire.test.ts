// Bad input by name, over bare sockets: what no HTTP client would send. Each case ends with a good request that is served.

import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { EMBEDDED_MODEL } from '../../src/server/config-fields.ts'
import { RawClient } from './raw-client.ts'
import { type ServerProcess, startServerProcess } from './server-process.ts'

const KEY = 'tml-hostile'
const VICTIM = 'tml-victim'
const IDLE_CONNECTIONS = 2000

let server: ServerProcess
let client: RawClient
const sockets: Socket[] = []

beforeAll(async () => {
  server = await startServerProcess({ keys: [KEY, VICTIM], flags: ['--log-level', 'error'] })
  client = new RawClient(server.url, KEY)
})
afterEach(async () => {
  expect(await client.session()).toBeTruthy()
  for (const socket of sockets.splice(0)) socket.destroy()
})
afterAll(() => server.stop())

/** `allowHalfOpen`: it may end its side and go on reading. */
async function open(allowHalfOpen = false): Promise<Socket> {
  const { hostname: host, port } = new URL(server.url)
  const socket = connect({ host, port: Number(port), allowHalfOpen })
  sockets.push(socket)
  socket.on('error', () => {}) // the server may cut it off
  await once(socket, 'connect')
  return socket
}

function head(body: { readonly length: number } | null, path = '/api/v1/create_session', method = 'POST'): string {
  const length = body ? `Content-Length: ${body.length}\r\nContent-Type: application/json\r\n` : ''
  return `${method} ${path} HTTP/1.1\r\nHost: here\r\nX-API-Key: ${KEY}\r\n${length}Connection: close\r\n\r\n`
}

/** Everything until the server ends its side: the status, and the rest as text. */
async function answerOf(socket: Socket): Promise<{ status: number; text: string }> {
  const parts: Buffer[] = []
  for await (const part of socket) parts.push(part as Buffer)
  const text = Buffer.concat(parts).toString()
  return { status: Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? 0), text }
}

async function sent(text: string): Promise<{ status: number; text: string }> {
  const socket = await open()
  socket.write(text)
  return answerOf(socket)
}

it('bodies that stop in the middle keep nobody else waiting', async () => {
  const slow = await Promise.all(Array.from({ length: 50 }, () => open()))
  for (const socket of slow) socket.write(`${head({ length: 1000 })}{"tags":`)
  const model = await client.model(EMBEDDED_MODEL.name)
  expect(await model.loss()).toBeGreaterThan(0)
})

it('a connection closed in the middle of a body costs nothing but itself', async () => {
  for (const socket of await Promise.all(Array.from({ length: 50 }, () => open()))) {
    socket.write(`${head({ length: 1000 })}{"tags":`)
    socket.destroy()
  }
})

it('a client that has closed its side still gets its answer', async () => {
  const socket = await open(true)
  socket.end(`${head({ length: 2 })}{}`)
  expect(await answerOf(socket)).toMatchObject({ status: 200, text: expect.stringContaining('session_id') })
})

it('a body that arrives byte by byte is read', async () => {
  const body = '{"tags":["slow"]}'
  const socket = await open()
  socket.setNoDelay(true)
  socket.write(head(body))
  for (const byte of body) await new Promise((resolve) => socket.write(byte, resolve))
  expect(await answerOf(socket)).toMatchObject({ status: 200 })
})

it('thousands of connections that say nothing do not keep a client out', async () => {
  for (let i = 0; i < IDLE_CONNECTIONS; i += 200) await Promise.all(Array.from({ length: 200 }, () => open()))
  const model = await client.model(EMBEDDED_MODEL.name)
  expect(await model.loss()).toBeGreaterThan(0)
}, 60_000)

it('what is no HTTP, or too much of it, is a 4xx', async () => {
  expect((await sent('\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n')).status).toBe(400)
  // Beyond Node's limit of 16 KiB, and small enough to be read whole: what is unread when a connection ends resets it.
  expect((await sent(`GET /healthz HTTP/1.1\r\nHost: here\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`)).status).toBe(431)
  const both =
    'POST /api/v1/create_session HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n'
  expect((await sent(`${both}0\r\n\r\n`)).status).toBe(400)
})

it.each([
  '/../../etc/passwd',
  '/%2e%2e/%2e%2e/etc/passwd',
  '//etc/passwd',
  '/..%5c..%5cetc/passwd',
  '/twinkle/tiny/resolve/main/../../../package.json',
])('the path %s leads to no file', async (path) => {
  const { status, text } = await sent(head(null, path, 'GET'))
  expect(status).toBe(404)
  expect(text).not.toMatch(/root:|"dependencies"/)
})

it('nesting without end is refused before it is parsed', async () => {
  const { status, body } = await client.post('create_session', `{"user_metadata":${'['.repeat(200_000)}`)
  expect([status, body.detail]).toEqual([413, expect.stringContaining('levels')])
})

it('numbers beyond everything are refused', async () => {
  const session_id = await client.session()
  for (const [number, word] of [
    ['1e999', 'number'],
    ['-1e999', 'number'],
    ['9'.repeat(400), 'model_seq_id'],
    ['-1', 'model_seq_id'],
    ['0.5', 'model_seq_id'],
    ['18446744073709551616', 'model_seq_id'],
  ] as const) {
    const text = `{"session_id":"${session_id}","model_seq_id":${number},"base_model":"${EMBEDDED_MODEL.name}"}`
    const { status, body } = await client.post('create_model', text)
    expect([number, status, body.detail]).toEqual([number, 400, expect.stringContaining(word)])
  }
})

it('a key given twice opens nothing that belongs to another', async () => {
  const theirs = await new RawClient(server.url, VICTIM).session()
  const mine = await client.session()
  for (const [first, second] of [
    [mine, theirs],
    [theirs, mine],
  ]) {
    const { status, body } = await client.post(
      'session_heartbeat',
      `{"session_id":"${first}","session_id":"${second}"}`,
    )
    // Whichever counts, it is the one that is looked at: another's is not there.
    expect(status).toBe(second === theirs ? 404 : 200)
    expect(JSON.stringify(body)).not.toContain('tml-')
  }
})

it('names of prototypes are names like others', async () => {
  const text = '{"user_metadata":{"__proto__":"a","constructor":"b"},"__proto__":{"tags":["x"]}}'
  expect(await client.post('create_session', text)).toMatchObject({ status: 200 })
})
