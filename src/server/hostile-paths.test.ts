// Addresses that no client would send: another tenant's ids in paths, encoded, doubled and climbing, byte for byte as they
// are written here; and signed addresses that were altered.

import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Operation, operations } from '../generated/operations.ts'
import { TestServer } from './testing/test-server.ts'
import { type Owned, populate, withKeys } from './testing/two-tenants.ts'

const server = new TestServer()
let anna: Owned
let bert: Owned
beforeAll(async () => {
  await server.start()
  const [annasKey, bertsKey] = await withKeys(server, 'anna', 'bert')
  anna = await populate(server, annasKey, 'secret-of-anna')
  bert = await populate(server, bertsKey, 'secret-of-bert')
})
afterAll(() => server.stop())

/** Sends the path as it is: `fetch` would tidy it up first. */
async function raw(method: string, path: string, key?: string): Promise<{ status: number; text: string }> {
  const { hostname, port } = new URL(server.url)
  const headers = { 'content-type': 'application/json', ...(key !== undefined && { 'x-api-key': key }) }
  const sent = request({ hostname, port, method, path, headers })
  sent.end(
    method === 'GET' || method === 'DELETE'
      ? undefined
      : '{"ttl_seconds":3600,"project_id":"mine","reason":{"type":"errored"}}',
  )
  const [answer] = (await once(sent, 'response')) as [IncomingMessage]
  return { status: answer.statusCode ?? 0, text: Buffer.concat(await answer.toArray()).toString() }
}

const everyByte = (text: string) => [...text].map((c) => `%${c.charCodeAt(0).toString(16)}`).join('')

/** What stands for the whole of an operation's parameters: the first one is the foreign id, the others lead to its things. */
const FORMS: Readonly<Record<string, (foreign: string, own: string) => string>> = {
  plain: (foreign) => foreign,
  'with every byte encoded': everyByte,
  'encoded in lower case': (foreign) => foreign.replaceAll(':', '%3a').replaceAll('-', '%2d'),
  'encoded twice': (foreign) => everyByte(foreign).replaceAll('%', '%25'),
  'behind an own one': (foreign, own) => `${own}/../${foreign}`,
  'behind an own one, encoded': (foreign, own) => `${own}%2f..%2f${foreign}`,
  'behind an own one, with encoded dots': (foreign, own) => `${own}/%2e%2e/${foreign}`,
  'behind an empty segment': (foreign) => `/${foreign}`,
  'with a parameter': (foreign) => `${foreign};x=1`,
  'with a null byte': (foreign) => `${foreign}%00`,
  'with broken encoding': (foreign) => `${foreign}%`,
  'with bytes that are no UTF-8': (foreign) => `${foreign}%ff%fe`,
}

type Owner = 'session_id' | 'sampler_id' | 'run'
const withIds = Object.values(operations as Readonly<Record<string, Operation>>).filter(
  ({ needsKey, path }) => needsKey && path.includes('{'),
)

function pathOf({ path }: Operation, form: (foreign: string, own: string) => string): string {
  const foreign: Record<Owner, string> = { session_id: anna.session, sampler_id: anna.sampler, run: anna.run }
  const own: Record<Owner, string> = { session_id: bert.session, sampler_id: bert.sampler, run: bert.run }
  return path
    .replace(/\{(session_id|sampler_id|run)\}/, (_, name: Owner) => form(foreign[name], own[name]))
    .replace('{kind}', 'weights')
    .replace('{name}', 'a')
}

describe.each(Object.entries(FORMS))('an id of another tenant in a path, %s,', (_, form) => {
  it.each(withIds)('opens nothing by $id', async (operation) => {
    const { status, text } = await raw(operation.method.toUpperCase(), pathOf(operation, form), bert.key)
    expect(status, text).toBeGreaterThanOrEqual(400)
    expect(status, text).toBeLessThan(500)
    expect(text).not.toContain('secret')
  })
})

describe('a checkpoint id with an encoded slash', () => {
  it.each(['weights%2fa', 'weights%2Fa', 'weights%252fa', '..%2fweights%2fa', 'weights/a%2f..%2fa', 'weights/./a'])(
    '%s opens nothing of another tenant',
    async (id) => {
      for (const [method, end] of [
        ['GET', '/archive'],
        ['DELETE', ''],
        ['POST', '/publish'],
        ['PUT', '/ttl'],
      ] as const) {
        const path = `/api/v1/training_runs/${anna.run}/checkpoints/${id}${end}`
        expect((await raw(method, path, bert.key)).status).toBeGreaterThanOrEqual(400)
      }
    },
  )
})

describe('a signed address', () => {
  const download = async (owner: Owned) => {
    const params = { run: owner.run, kind: 'weights', name: 'a' }
    const { urls } = await server.call('getExternalWeightsUrls', { key: owner.key, params })
    return new URL(urls['adapter_config.json'])
  }
  const trace = async (owner: Owned) => {
    const { url } = await server.call('exportSessionTrace', { key: owner.key, params: { session_id: owner.session } })
    return new URL(url)
  }

  it('opens what it names, without a key', async () => {
    for (const { pathname, search } of [await download(bert), await trace(bert)]) {
      expect((await raw('GET', pathname + search)).status).toBe(200)
    }
  })

  it('opens nothing else: neither another checkpoint, file or session, nor for longer', async () => {
    const [own, foreign] = [await download(bert), await download(anna)]
    const [ownTrace, foreignTrace] = [await trace(bert), await trace(anna)]
    const later = (search: string) => search.replace(/expires=\d/, 'expires=9')
    const altered = [
      foreign.pathname + own.search,
      foreign.pathname + ownTrace.search,
      foreignTrace.pathname + ownTrace.search,
      own.pathname.replace('adapter_config.json', 'adapter_model.safetensors') + own.search,
      own.pathname.replace('adapter_config.json', 'optimizer.safetensors') + own.search,
      own.pathname.replace('adapter_config.json', '..%2f..%2fdownload-secret') + own.search,
      own.pathname + later(own.search),
      ownTrace.pathname + later(ownTrace.search),
      own.pathname + own.search.replace(/signature=.*/, 'signature='),
      own.pathname + own.search.replace(/signature=./, 'signature=%00'),
      own.pathname,
    ]
    for (const path of altered) {
      const { status, text } = await raw('GET', path)
      expect([400, 403, 404], path).toContain(status)
      expect(text).not.toContain('secret-of')
    }
  })

  it('is not made for the things of another tenant', async () => {
    for (const kind of ['weights', 'sampler_weights', 'external_weights']) {
      const asked = { key: bert.key, params: { run: anna.run, kind, name: 'a' } }
      for (const id of ['getExternalWeightsUrls', 'getCheckpointArchive'] as const) await server.call(id, asked, 404)
    }
    await server.call('exportSessionTrace', { key: bert.key, params: { session_id: anna.session } }, 404)
  })
})
