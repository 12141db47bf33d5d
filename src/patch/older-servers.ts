// Servers that speak JSON only: Twinkle's own, which serve the routes of SDK 0.14 to 0.16. What this SDK sends as protobuf
// goes out as the JSON of those releases, results come back as protobuf, and routes that came later are answered here.
// A server shows that it is one of them by not having the route that newer SDKs begin with.

import type { Fetch } from '../client/tinker/http.ts'
import { resultBytes } from './older-results.ts'
import { trainingJson } from './older-training.ts'

const CONFIG = '/api/v1/client/config'
const FORWARD_BACKWARD = '/api/v1/forward_backward'
const RETRIEVE = '/api/v1/retrieve_future'
const CREATE_SAMPLER = '/api/v1/create_sampling_session'
/** Came later; it tells a sampler's base model. */
const SAMPLER = /\/api\/v1\/samplers\/([^/]+)$/
/** Came later, and its answer says nothing. */
const FINISH = /\/api\/v1\/sessions\/[^/]+\/finish$/

const JSON_TYPE = { 'content-type': 'application/json' }
const answered = (body: unknown) => new Response(JSON.stringify(body), { headers: JSON_TYPE })

export class OlderServers {
  /** Addresses before `/api/v1` that have shown it. */
  readonly #older = new Set<string>()
  /** Paths that samplers were made from, by their ids. */
  readonly #paths = new Map<string, string>()

  async exchange(send: Fetch, url: string, init: RequestInit): Promise<Response> {
    const server = url.slice(0, url.indexOf('/api/v1/'))
    if (url.endsWith(CONFIG)) return this.#config(await send(url, init), server)
    if (!this.#older.has(server)) return send(url, init)
    if (url.endsWith(FORWARD_BACKWARD)) {
      const { route, body } = trainingJson(init.body as Uint8Array)
      const headers = { ...(init.headers as Record<string, string>), ...JSON_TYPE }
      return send(`${server}/api/v1/${route}`, { ...init, headers, body: JSON.stringify(body) })
    }
    const answer = await send(url, init)
    if (answer.ok && url.endsWith(RETRIEVE)) return this.#result(answer)
    if (answer.ok && url.endsWith(CREATE_SAMPLER)) return this.#made(answer, init)
    if (answer.status !== 404) return answer
    if (FINISH.test(url)) return answered({})
    const path = this.#paths.get(decodeURIComponent(SAMPLER.exec(url)?.[1] ?? ''))
    return path === undefined ? answer : this.#baseModel(send, server, path, init)
  }

  #config(answer: Response, server: string): Response {
    if (answer.status !== 404) return answer
    this.#older.add(server)
    return answered({})
  }

  async #made(answer: Response, init: RequestInit): Promise<Response> {
    const made = (await answer.json()) as { sampling_session_id: string }
    const { model_path: path } = JSON.parse(String(init.body)) as { model_path?: string }
    if (path) this.#paths.set(made.sampling_session_id, path)
    return answered(made)
  }

  async #baseModel(send: Fetch, server: string, path: string, init: RequestInit): Promise<Response> {
    const headers = { ...(init.headers as Record<string, string>), ...JSON_TYPE }
    const body = JSON.stringify({ tinker_path: path })
    return send(`${server}/api/v1/weights_info`, { ...init, method: 'POST', headers, body })
  }

  async #result(answer: Response): Promise<Response> {
    const text = await answer.text()
    const bytes = resultBytes(JSON.parse(text))
    if (!bytes) return new Response(text, { status: answer.status, headers: answer.headers })
    return new Response(bytes, { headers: { 'content-type': 'application/x-protobuf' } })
  }
}
