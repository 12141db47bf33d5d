import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import Koa from 'koa'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { operations } from '../../generated/operations.ts'
import { BodyBudget } from '../http/body-budget.ts'
import { errorBoundary } from '../http/error-boundary.ts'
import { requestId } from '../http/request-id.ts'
import { createRouter } from '../http/router.ts'
import type { RequestState } from '../http/state.ts'
import { hubHandlers } from './handlers.ts'

const file = (text: string) => new TextEncoder().encode(text)
const MODELS = new Map([
  [
    'org/tiny',
    { 'config.json': file('{"a":1}'), 'chat_template.jinja': file('{{ x }}'), 'model.safetensors': file('w') },
  ],
  ['bare', { 'config.json': file('{}') }],
])

let server: http.Server
let url: string

beforeAll(async () => {
  const { hubModel, hubFile, hubFileHead } = operations
  const handlers = hubHandlers({ names: () => [...MODELS.keys()], files: (name) => MODELS.get(name) ?? null })
  const parts = { authenticate: async () => null, budget: new BodyBudget(0), maxBodyBytes: 0, maxJsonBytes: 0 }
  const app = new Koa<RequestState>()
  app
    .use(requestId())
    .use(errorBoundary())
    .use(createRouter({ hubModel, hubFile, hubFileHead }, handlers, parts))
  server = http.createServer(app.callback()).listen(0, '127.0.0.1')
  await once(server, 'listening')
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})

afterAll(async () => {
  server.closeAllConnections()
  server.close()
  await once(server, 'close')
})

const json = async (path: string) => (await (await fetch(`${url}/${path}`)).json()) as Record<string, unknown>
const head = (path: string) => fetch(`${url}/${path}`, { method: 'HEAD' })

describe('a model that is served', () => {
  it('is described with its commit and the small files that there are', async () => {
    const model = await json('api/models/org/tiny')
    expect(model).toMatchObject({ id: 'org/tiny', sha: expect.stringMatching(/^[0-9a-f]{40}$/), private: false })
    expect(model.siblings).toEqual([{ rfilename: 'chat_template.jinja' }, { rfilename: 'config.json' }])
    expect(await json(`api/models/org/tiny/revision/${model.sha}`)).toEqual(model)
    expect(await json('api/models/bare')).toMatchObject({ id: 'bare' })
  })

  it('gives its files by any revision, and says the same to HEAD', async () => {
    const { sha } = await json('api/models/org/tiny')
    for (const revision of ['main', String(sha)]) {
      const path = `org/tiny/resolve/${revision}/config.json`
      const get = await fetch(`${url}/${path}`)
      const only = await head(path)
      expect([await get.text(), await only.text()]).toEqual(['{"a":1}', ''])
      for (const { status, headers } of [get, only]) {
        expect(status).toBe(200)
        expect(headers.get('etag')).toMatch(/^"[0-9a-f]{64}"$/)
        expect(headers.get('x-repo-commit')).toBe(sha)
        expect(headers.get('content-length')).toBe('7')
      }
    }
    expect((await head('bare/resolve/main/config.json')).status).toBe(200)
  })

  it('lists them as a tree without folders', async () => {
    const tree = (await json('api/models/org/tiny/tree/main?recursive=true')) as unknown as {
      path: string
      size: number
    }[]
    expect(tree.map(({ path, size }) => [path, size])).toEqual([
      ['chat_template.jinja', 7],
      ['config.json', 7],
    ])
    const folder = await fetch(`${url}/api/models/org/tiny/tree/main/additional_chat_templates`)
    expect([folder.status, folder.headers.get('x-error-code')]).toEqual([404, 'EntryNotFound'])
  })

  it('keeps its weights', async () => {
    expect((await head('org/tiny/resolve/main/model.safetensors')).status).toBe(404)
  })
})

describe('what is not there', () => {
  it('is told apart in the words of the hub: a file, a model', async () => {
    const entry = await head('org/tiny/resolve/main/tokenizer.model')
    expect([entry.status, entry.headers.get('x-error-code')]).toEqual([404, 'EntryNotFound'])
    // Clients remember that a file is missing by the commit in which it is.
    expect(entry.headers.get('x-repo-commit')).toMatch(/^[0-9a-f]{40}$/)
    for (const path of ['api/models/org/none', 'org/none/resolve/main/config.json']) {
      const repo = await fetch(`${url}/${path}`)
      expect([repo.status, repo.headers.get('x-error-code')]).toEqual([404, 'RepoNotFound'])
      expect(await repo.json()).toEqual({
        error: 'The model org/none is not served here. Served are org/tiny, bare.',
      })
    }
  })

  it('is no way to other files or to other headers', async () => {
    for (const name of ['..%2f..%2fetc', '__proto__', 'constructor', 'x%0d%0aset-cookie:%20a=b', '%E2%82%AC']) {
      const response = await fetch(`${url}/org/tiny/resolve/main/${name}`)
      expect([response.status, response.headers.get('set-cookie')]).toEqual([404, null])
      expect((await fetch(`${url}/api/models/${name}`)).status).toBe(404)
    }
  })
})
