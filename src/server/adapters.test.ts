// What an import or a merge must not do, whoever asks. That they work is shown with the real engine: cli/adapters.test.ts.

import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { Agent, type IncomingMessage, type RequestOptions, request } from 'node:http'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Json, TestServer } from './testing/test-server.ts'

const server = new TestServer()
beforeAll(() => server.start())
afterAll(() => server.stop())

const upload = (body: Uint8Array<ArrayBuffer>, query: Record<string, string> = {}) =>
  fetch(`${server.url}/api/v1/adapters?${new URLSearchParams({ base_model: 'org/tiny', ...query })}`, {
    method: 'POST',
    headers: { 'x-api-key': 'tml-anna', 'content-type': 'application/x-tar' },
    body,
  })

const left = (folder: string) => readdirSync(join(server.stateDir, folder))

describe('an upload', () => {
  it.each([
    ['nothing', new Uint8Array()],
    ['noise', new Uint8Array(100_000).fill(65)],
    ['an empty archive', new Uint8Array(1024)],
  ])('of %s is refused with the reason and leaves nothing', async (_, body) => {
    const answer = await upload(body)
    expect(answer.status).toBe(400)
    expect(((await answer.json()) as Json).code).toBe('ADAPTER_REFUSED')
    expect(left('uploads')).toEqual([])
  })

  it.each([
    ['a name that leaves its folder', { name: '../../x' }, 400, 'INVALID_CHECKPOINT_NAME'],
    ['a model that is not served', { base_model: 'org/other' }, 400, 'UNKNOWN_BASE_MODEL'],
    ['a life that is too short', { ttl_seconds: '1' }, 400, 'INVALID_TTL'],
  ])('for %s is refused, and the connection stays usable', async (_, query, status, code) => {
    const answer = await upload(new Uint8Array(5_000_000), query)
    expect({ status: answer.status, code: ((await answer.json()) as Json).code }).toEqual({ status, code })
  })

  it('that is no archive does not wedge its connection: the next request on it is answered', async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    const ask = async (path: string, options: RequestOptions, body?: Uint8Array) => {
      const asked = request(`${server.url}${path}`, { agent, ...options }).end(body)
      const [answer] = (await once(asked, 'response')) as [IncomingMessage]
      await once(answer.resume(), 'end')
      return { status: answer.statusCode }
    }
    const headers = { 'x-api-key': 'tml-anna', 'content-type': 'application/x-tar' }
    const body = Buffer.from('{"tags":['.repeat(100_000))
    const refused = await ask('/api/v1/adapters?base_model=org/tiny', { method: 'POST', headers }, body)
    expect([refused.status, (await ask('/healthz', {})).status]).toEqual([400, 200])
    agent.destroy()
  })

  it('of one tenant waits for nobody, but its second one is refused while the first comes in', async () => {
    let finish!: () => void
    const slow = new ReadableStream<Uint8Array>({
      start(controller) {
        controller.enqueue(new Uint8Array(512))
        finish = () => controller.close()
      },
    })
    const first = fetch(`${server.url}/api/v1/adapters?base_model=org/tiny`, {
      method: 'POST',
      headers: { 'x-api-key': 'tml-anna', 'content-type': 'application/x-tar' },
      body: slow,
      duplex: 'half',
    } as RequestInit)
    await expect.poll(() => left('uploads').length).toBe(1)
    expect((await upload(new Uint8Array(1024))).status).toBe(429)
    finish()
    expect((await first).status).toBe(400)
    expect(left('uploads')).toEqual([])
  })
})

describe('the file of a merged model', () => {
  it.each(['../../twinkle.db', 'config.json'])('%s is nobody’s without our signature', async (file) => {
    const params = { id: '0f8fad5b-d9cb-469f-a165-70867728950e', file }
    await server.call('downloadMerged', { params, query: { expires: Date.now() + 1e6, signature: 'x' } }, 403)
  })
})
