// What Twinkle's own clients were recorded to send (openapi/goldens/twinkle), to be sent once more. Ids that a server gives
// are others each time: those of the recording are replaced by ours on the way.

import { readFileSync } from 'node:fs'
import type { ServerConfig } from '../../config.ts'
import { EMBEDDED_MODEL } from '../../config-fields.ts'
import { type Json, TestServer } from '../../testing/test-server.ts'

export interface Exchange {
  readonly request: { readonly path: string; readonly body: Json }
  readonly response: { readonly status: number; readonly body: Json }
}

interface Recorded extends Exchange {
  readonly request: Exchange['request'] & { readonly headers: Record<string, string> | string }
}

const GOLDENS = new URL('../../../../openapi/goldens/twinkle/', import.meta.url)
const KEY = 'EMPTY_TOKEN'

export class Recording {
  /** Those whose path begins with the prefix. */
  readonly exchanges: readonly Exchange[]
  readonly server: TestServer
  /** What the recording calls a thing, and what we do. */
  readonly names = new Map<string, string>()
  readonly #headers: Record<string, string>

  constructor(name: string, prefix: string, settings: Partial<ServerConfig> = {}) {
    const all: Recorded[] = JSON.parse(readFileSync(new URL(name, GOLDENS), 'utf8')).exchanges
    this.exchanges = all.filter(({ request }) => request.path.startsWith(prefix))
    this.#headers = all.map(({ request }) => request.headers).find((headers) => typeof headers !== 'string') as Record<
      string,
      string
    >
    this.server = new TestServer({ models: [{ name: 'tiny/tiny-llm', path: EMBEDDED_MODEL.path }], ...settings })
  }

  /** The server runs, and the session that the client had opened is there. */
  async start(): Promise<void> {
    await this.server.start()
    const { session_id } = await this.server.call('twinkleCreateSession', { key: KEY, body: {} })
    const recorded = this.#session
    if (recorded) this.names.set(recorded, session_id)
  }

  /** The headers of every request, in our names. */
  get headers(): Record<string, string> {
    const { 'Content-Type': _, ...headers } = JSON.parse(this.#ours(JSON.stringify(this.#headers)))
    return headers
  }

  get #session(): string | undefined {
    const text = JSON.stringify(this.exchanges)
    return this.#headers['X-Twinkle-Session-Id'] ?? /session_[0-9a-f]{32}/.exec(text)?.[0]
  }

  async send({ path, body }: Exchange['request']): Promise<{ status: number; json: Json }> {
    const answer = await fetch(`${this.server.url}${path}`, {
      method: 'POST',
      headers: { ...this.headers, 'Content-Type': 'application/json', 'Twinkle-Authorization': `Bearer ${KEY}` },
      body: this.#ours(JSON.stringify(body)),
    })
    return { status: answer.status, json: await answer.json() }
  }

  #ours(text: string): string {
    return [...this.names].reduce((text, [theirs, own]) => text.replaceAll(theirs, own), text)
  }
}
