// Stands between the clients and the server and remembers: which requests were acknowledged, and what was answered to each.
// A request that dies with the server is sent again when that is back, as every SDK does. Knows HTTP, not what is trained.

import { createHash } from 'node:crypto'

type Fetch = (url: string, init: RequestInit) => Promise<Response>

interface Answer {
  readonly accept: string
  readonly key: string
  readonly hash: string
}

export class Witness {
  readonly #ready: () => Promise<string>
  readonly #acknowledged = new Map<string, { readonly key: string; readonly path: string }>()
  readonly #answers = new Map<string, Answer>()
  /** Sentences about promises that were broken. */
  readonly broken: string[] = []
  resent = 0

  /** `ready` settles when the server answers. */
  constructor(ready: () => Promise<string>) {
    this.#ready = ready
  }

  get acknowledged(): number {
    return this.#acknowledged.size
  }

  readonly fetch: Fetch = async (url, init) => {
    for (;;) {
      try {
        return await this.#exchange(url, init)
      } catch (error) {
        if (init.signal?.aborted) throw error
        this.resent += 1
        await this.#ready()
      }
    }
  }

  async #exchange(url: string, init: RequestInit): Promise<Response> {
    const response = await fetch(url, init)
    const bytes = new Uint8Array(await response.arrayBuffer())
    const { status, headers } = response
    if (status === 200) this.#note(new URL(url).pathname, init, bytes)
    return new Response(bytes, { status, headers })
  }

  #note(path: string, init: RequestInit, bytes: Uint8Array): void {
    const headers = init.headers as Record<string, string>
    const key = headers['x-api-key'] ?? ''
    if (path.endsWith('/retrieve_future')) {
      const { request_id: id } = JSON.parse(String(init.body)) as { request_id: string }
      this.#noteAnswer(id, { accept: headers.accept ?? '', key, hash: hashOf(bytes) })
    } else if (bytes[0] === '{'.charCodeAt(0)) {
      const { request_id: id } = JSON.parse(new TextDecoder().decode(bytes)) as { request_id?: string }
      if (id !== undefined) this.#acknowledged.set(id, { key, path })
    }
  }

  #noteAnswer(id: string, answer: Answer): void {
    const first = this.#answers.get(id)
    if (!first) this.#answers.set(id, answer)
    else if (first.accept === answer.accept && first.hash !== answer.hash) {
      this.broken.push(`${id} (${this.#acknowledged.get(id)?.path}) was answered twice, differently`)
    }
  }

  /** Asks again for everything that was ever acknowledged: it must have ended well, and the answer be the first one's. */
  async ask(url: string): Promise<void> {
    for (const [id, { key, path }] of this.#acknowledged) {
      const accept = this.#answers.get(id)?.accept ?? 'application/json'
      const headers = { 'x-api-key': key, accept, 'content-type': 'application/json' }
      const init = { method: 'POST', headers, body: JSON.stringify({ request_id: id }) }
      const response = await this.fetch(`${url}/api/v1/retrieve_future`, init)
      const text = accept.includes('protobuf') ? '' : await response.text()
      if (response.status !== 200) this.broken.push(`${id} (${path}) has no answer: ${response.status}`)
      else if (text.includes('"category"')) this.broken.push(`${id} (${path}) failed: ${text.slice(0, 300)}`)
    }
  }
}

const hashOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
