// One server, one owner: address, key, identity headers, the session and its heartbeat, repetition, and errors. Every object
// of this client belongs to a connection. Web APIs only: it runs in a browser too.

import createClient, { type Client } from 'openapi-fetch'
import type { paths } from '../../generated/twinkle.ts'
import { repeat, sleep, unlessAborted } from '../tinker/timing.ts'
import { fetchFailure, refusal, retryAfterMs, shaped } from './answers.ts'
import { TwinkleError, UnexpectedAnswerError } from './errors.ts'
import { type Failure, repeatDelay } from './repetition.ts'

export interface ConnectionOptions {
  /** Default: TWINKLE_SERVER_URL, then http://127.0.0.1:8000. `/api/v1` may be at its end. */
  readonly baseUrl?: string
  /** Default: TWINKLE_SERVER_TOKEN, then EMPTY_TOKEN. */
  readonly apiKey?: string
  /** Seconds between heartbeats of the session; 10. */
  readonly sessionHeartbeatInterval?: number
  /** Kept with the session on the server. */
  readonly sessionMetadata?: Readonly<Record<string, unknown>>
  readonly fetch?: (request: Request) => Promise<Response>
}

export interface CallOptions {
  readonly signal?: AbortSignal
  /** Told before each repetition: how many attempts have failed, why, and how long it waits now. */
  readonly onRetry?: (report: { readonly attempts: number; readonly reason: string; readonly waitMs: number }) => void
}

export interface SendOptions extends CallOptions {
  /** Doing it twice is doing it once: it may be repeated although the server may have heard it. */
  readonly isSafe: boolean
}

/** What openapi-fetch gives. */
interface Reply<T> {
  readonly data?: T
  readonly error?: unknown
  readonly response: Response
}

const DEFAULT_URL = 'http://127.0.0.1:8000'
const DEFAULT_KEY = 'EMPTY_TOKEN'
const HEARTBEAT_S = 10

export class Connection {
  /** Up to and with `/api/v1`'s parent: paths of the document follow. */
  readonly baseUrl: string
  readonly api: Client<paths>
  readonly #options: ConnectionOptions
  #session: Promise<string> | undefined
  #sessionId: string | undefined
  #stopHeartbeat = () => {}
  #isClosed = false

  /** Throws TwinkleError for a base URL that is none. */
  constructor(options: ConnectionOptions = {}) {
    this.#options = options
    this.baseUrl = addressOf(options.baseUrl || variable('TWINKLE_SERVER_URL') || DEFAULT_URL)
    const key = options.apiKey || variable('TWINKLE_SERVER_TOKEN') || DEFAULT_KEY
    this.api = createClient<paths>({
      baseUrl: this.baseUrl,
      headers: { authorization: `Bearer ${key}`, 'twinkle-authorization': `Bearer ${key}` },
      // Slashes of model names stay: the server takes them as they are.
      pathSerializer: filled,
      ...(options.fetch ? { fetch: options.fetch } : {}),
    })
    this.api.use({
      onRequest: ({ request }) => {
        if (this.#sessionId) request.headers.set('x-twinkle-session-id', this.#sessionId)
      },
    })
  }

  /** Begins the session if there is none, and keeps it alive until `close`. */
  session(): Promise<string> {
    this.#session ??= this.#open().catch((error: unknown) => {
      this.#session = undefined
      throw error
    })
    return this.#session
  }

  /** No request ends a session: without heartbeats it ends by itself. */
  close(): void {
    this.#isClosed = true
    this.#stopHeartbeat()
  }

  /** Sends what belongs to a session. */
  async send<T>(
    call: (api: Client<paths>, signal: AbortSignal | undefined) => Promise<Reply<T>>,
    options: SendOptions,
  ) {
    await unlessAborted(this.session(), options.signal)
    return this.ask(call, options)
  }

  /** Sends; repeats where that is safe. Throws TwinkleError and its kin. */
  async ask<T>(
    call: (api: Client<paths>, signal: AbortSignal | undefined) => Promise<Reply<T>>,
    { isSafe, signal, onRetry }: SendOptions,
  ): Promise<T> {
    if (this.#isClosed) throw new TwinkleError('This client is closed. Next: make another one with initTwinkleClient.')
    for (let attempts = 1; ; attempts++) {
      const { value, error, failure } = await this.#once(call, signal)
      if (!error) return value as T
      const waitMs = failure ? repeatDelay(failure, isSafe, attempts - 1) : null
      if (waitMs === null) throw error
      onRetry?.({ attempts, reason: error.message, waitMs })
      await sleep(waitMs, signal)
    }
  }

  async #once<T>(
    call: (api: Client<paths>, signal: AbortSignal | undefined) => Promise<Reply<T>>,
    signal: AbortSignal | undefined,
  ): Promise<{ value?: T; error?: Error; failure?: Failure }> {
    let reply: Reply<T>
    try {
      reply = await call(this.api, signal)
    } catch (cause) {
      if (signal?.aborted) throw signal.reason
      // A transport of one's own knows better than we what went wrong.
      if (cause instanceof TwinkleError) return { error: cause }
      if (cause instanceof SyntaxError) return { error: notJson(this.baseUrl, cause) }
      const { error, wasSent } = fetchFailure(this.baseUrl, cause)
      return { error, failure: { wasSent, retryAfterMs: null } }
    }
    const { data, error, response } = reply
    if (response.ok) return { value: data as T }
    const { status } = response
    return { error: refusal(response, error), failure: { status, wasSent: true, retryAfterMs: retryAfterMs(response) } }
  }

  async #open(): Promise<string> {
    const { sessionMetadata: metadata = null, sessionHeartbeatInterval: seconds = HEARTBEAT_S } = this.#options
    const body = { metadata: metadata && { ...metadata } }
    const made = await this.ask((api) => api.POST('/api/v1/twinkle/create_session', { body }), { isSafe: true })
    const { session_id: id } = shaped('create_session', made, { session_id: 'string' })
    this.#sessionId = id
    // Whoever closes a client while its session begins wants no heartbeats.
    if (!this.#isClosed) this.#stopHeartbeat = repeat(seconds * 1000, () => this.#beat(id).catch(() => {}))
    return id
  }

  /** One that is lost is made up for by the next. */
  async #beat(session_id: string): Promise<void> {
    await this.api.POST('/api/v1/twinkle/session_heartbeat', { body: { session_id } })
  }
}

function addressOf(baseUrl: string): string {
  if (!/^https?:\/\//.test(baseUrl) || !URL.canParse(baseUrl)) {
    throw new TwinkleError(
      `The base URL ${JSON.stringify(baseUrl)} is no address of the form http://HOST:PORT or https://HOST. Next: give one such as ${DEFAULT_URL}.`,
    )
  }
  return baseUrl
    .replace(/\/+$/, '')
    .replace(/\/api\/v1$/, '')
    .replace(/\/+$/, '')
}

function filled(path: string, values: Readonly<Record<string, unknown>>): string {
  return path.replace(/\{(\w+)\}/g, (_, name: string) =>
    encodeURIComponent(String(values[name])).replace(/%3A|%2F/g, decodeURIComponent),
  )
}

function notJson(baseUrl: string, cause: unknown): UnexpectedAnswerError {
  return new UnexpectedAnswerError(
    `${baseUrl} answered with something that is not JSON. Next: check the base URL: this is not a Twinkle server, or a proxy before one.`,
    { cause },
  )
}

function variable(name: string): string | undefined {
  const { process } = globalThis as { process?: { env?: Readonly<Record<string, string | undefined>> } }
  return process?.env?.[name] || undefined
}
