// A server that answers what a test tells it to, and remembers what it was asked. It stands where `fetch` does.

import type { ConnectionOptions } from '../connection.ts'

export interface Asked {
  readonly path: string
  readonly headers: Headers
  readonly body: unknown
}

/** JSON, a whole Response, or something thrown in its place. */
export type Answer = unknown

export class FakeServer {
  readonly asked: Asked[] = []
  readonly #answers = new Map<string, Answer[]>()

  /** What the operation at the end of a path answers: one after another, then the last again and again. */
  answers(operation: string, ...answers: readonly Answer[]): this {
    this.#answers.set(operation, [...answers])
    return this
  }

  readonly fetch: NonNullable<ConnectionOptions['fetch']> = async (request) => {
    const { pathname } = new URL(request.url)
    const text = await request.clone().text()
    this.asked.push({ path: pathname, headers: request.headers, body: text === '' ? null : JSON.parse(text) })
    request.signal.throwIfAborted()
    return this.#next(pathname.split('/').at(-1) ?? '', request)
  }

  /** How often the operation was asked for. */
  count(operation: string): number {
    return this.asked.filter(({ path }) => path.endsWith(`/${operation}`)).length
  }

  #next(operation: string, request: Request): Response | Promise<Response> {
    const left = this.#answers.get(operation) ?? [DEFAULTS[operation] ?? status(404, { detail: 'Not Found' })]
    const answer = left.length > 1 ? left.shift() : left[0]
    if (answer === HANGS) return untilAborted(request.signal)
    if (answer instanceof Error) throw answer
    const response = answer instanceof Response ? answer.clone() : json(answer)
    return Object.defineProperty(response, 'url', { value: request.url })
  }
}

/** Never answers. */
export const HANGS = Symbol('hangs')

const DEFAULTS: Readonly<Record<string, Answer>> = {
  create_session: { session_id: 'session-1' },
  session_heartbeat: { status: 'ok' },
  create: { status: 'ok' },
  add_adapter_to_model: { status: 'ok', adapter_name: 'session-1-default' },
}

export const json = (value: unknown, init: ResponseInit = {}): Response =>
  new Response(JSON.stringify(value), { ...init, headers: { 'content-type': 'application/json', ...init.headers } })

export const status = (code: number, body: unknown, headers: Record<string, string> = {}): Response =>
  json(body, { status: code, headers })

export const html = (code: number): Response =>
  new Response('<html><body>Welcome to nginx!</body></html>', {
    status: code,
    headers: { 'content-type': 'text/html' },
  })

/** As fetch has it. */
export const failed = (code: string): Error =>
  new TypeError('fetch failed', { cause: Object.assign(new Error(code), { code }) })

function untilAborted(signal: AbortSignal): Promise<Response> {
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }))
}
