// One HTTP exchange with a server, and its repetition: addresses from the generated table of operations, headers, JSON out,
// JSON or protobuf in, timeouts, retries. It knows no sessions and no futures. Web APIs only: it runs in a browser too.

import {
  type OperationId,
  operations,
  type PathParams,
  type QueryParams,
  type RequestBody,
  type SuccessBody,
} from '../../generated/operations.ts'
import { checkAnswer } from './answer-shapes.ts'
import { BILLING_PAUSE_MS, BillingPause } from './billing.ts'
import type { Credential } from './credential.ts'
import { ConnectionError, StatusError, TimeoutError, TinkerError } from './errors.ts'
import { type Answer, parseJson, statusError, unreachable } from './http-answer.ts'
import { wireJson } from './json.ts'
import type { Tell } from './messages.ts'
import { type RetryPolicy, retryDelay, STANDARD } from './retry.ts'
import { sleep } from './timing.ts'
import { transport } from './transport.ts'
import { CLIENT_VERSION, PROTOCOL_VERSION } from './version.ts'

export type Fetch = (url: string, init: RequestInit) => Promise<Response>

export interface HttpOptions {
  readonly baseUrl: string
  readonly credential: Credential
  readonly tell: Tell
  /** Sent with every request. */
  readonly headers?: Readonly<Record<string, string>>
  readonly fetch?: Fetch
  readonly firstAnswerMs?: number
}

export interface Call<K extends OperationId> {
  /** JSON, or bytes of a protobuf message. */
  readonly body?: RequestBody<K> | Uint8Array
  readonly path?: PathParams<K>
  readonly query?: Partial<QueryParams<K>>
  readonly headers?: Readonly<Record<string, string>>
  /** The public method this serves, as the protocol names it: `TrainingClient.optim_step`. */
  readonly method?: string
  readonly accept?: string
  readonly retry?: RetryPolicy
  readonly timeoutMs?: number
  readonly signal?: AbortSignal | undefined
  /** Signs this one request instead of the client's own credential. */
  readonly credential?: Credential
  /** `manual`: a redirect is the answer, and not followed. */
  readonly redirect?: 'follow' | 'manual'
}

/** How long a server that has never answered is tried, unless the options say otherwise. */
const FIRST_ANSWER_MS = 30_000

export class Http {
  readonly baseUrl: string
  readonly billing: BillingPause
  /** May become another one once the server has said what it wants. */
  credential: Credential
  readonly headers: Readonly<Record<string, string>>
  readonly fetch: Fetch
  readonly #tell: Tell
  readonly #firstAnswerMs: number
  readonly #notes = new Set<string>()
  #hasAnswered = false
  #isWarned = false

  constructor(options: HttpOptions) {
    if (!/^https?:\/\//.test(options.baseUrl)) {
      throw new TinkerError(`The base URL ${JSON.stringify(options.baseUrl)} does not start with http:// or https://.`)
    }
    this.baseUrl = options.baseUrl.replace(/\/+$/, '')
    this.credential = options.credential
    this.headers = options.headers ?? {}
    this.fetch = options.fetch ?? ((url, init) => transport.fetch(url, init))
    this.#tell = options.tell
    this.#firstAnswerMs = options.firstAnswerMs ?? FIRST_ANSWER_MS
    this.billing = new BillingPause(options.tell)
  }

  /** The JSON of a successful answer. Throws UnexpectedAnswerError when it is not what the operation answers. */
  async json<K extends OperationId>(operation: K, call: Call<K> = {}): Promise<SuccessBody<K>> {
    const answer = await this.send(operation, call)
    const body = parseJson(answer)
    checkAnswer(operation, body, answer.url)
    return body as SuccessBody<K>
  }

  /** Throws StatusError, ConnectionError or TimeoutError once the policy of repetition is exhausted. */
  async send<K extends OperationId>(operation: K, call: Call<K> = {}): Promise<Answer> {
    const policy = call.retry ?? STANDARD
    const start = Date.now()
    const idempotencyKey = `twinkle-ts-retry-${crypto.randomUUID()}`
    for (let failure = 0; ; ) {
      try {
        return await this.#signed(operation, call, failure % (policy.inner + 1), idempotencyKey)
      } catch (error) {
        if (call.signal?.aborted) throw call.signal.reason
        if (policy.hasOuter && this.billing.covers(error)) {
          await sleep(BILLING_PAUSE_MS, call.signal)
          continue
        }
        const delay = retryDelay(policy, failure++, Date.now() - start, error)
        if (delay === null || this.#isHopeless(error, Date.now() - start)) throw exhausted(error, failure, start)
        await sleep(delay, call.signal)
      }
    }
  }

  /** Whether to stop trying an address where nobody has ever answered; warns when that begins. */
  #isHopeless(error: unknown, elapsedMs: number): boolean {
    if (this.#hasAnswered || !(error instanceof ConnectionError)) return false
    if (!this.#isWarned)
      this.#tell('warning', `${error.message} Trying again for ${this.#firstAnswerMs / 1000} seconds.`)
    this.#isWarned = true
    return elapsedMs >= this.#firstAnswerMs
  }

  /** Once more with another token, if the server says that this one is not valid any longer. */
  async #signed<K extends OperationId>(operation: K, call: Call<K>, count: number, key: string): Promise<Answer> {
    const credential = call.credential ?? this.credential
    const token = await credential.token()
    try {
      return await this.#once(operation, call, count, key, token)
    } catch (error) {
      if (!isInvalidToken(error) || !credential.replace) throw error
      return this.#once(operation, call, count, key, await credential.replace(token))
    }
  }

  async #once<K extends OperationId>(operation: K, call: Call<K>, count: number, key: string, token: string) {
    const { method, path } = operations[operation]
    const timeoutMs = call.timeoutMs ?? 60_000
    const timeout = AbortSignal.timeout(timeoutMs)
    const init: RequestInit = {
      method: method.toUpperCase(),
      headers: {
        accept: call.accept ?? 'application/json',
        'user-agent': `twinkle-ts/${CLIENT_VERSION}`,
        'x-api-key': token,
        'x-stainless-retry-count': String(count),
        'x-stainless-read-timeout': String(timeoutMs / 1000),
        ...(call.method === undefined ? {} : { 'x-sdk-version': PROTOCOL_VERSION, 'x-sdk-method': call.method }),
        ...(method === 'get' ? {} : { 'x-idempotency-key': key, 'content-type': contentType(call.body) }),
        ...this.headers,
        ...call.headers,
      },
      signal: call.signal ? AbortSignal.any([call.signal, timeout]) : timeout,
      ...(call.redirect === undefined ? {} : { redirect: call.redirect }),
      ...(call.body === undefined ? {} : { body: encodeBody(call.body) }),
    }
    const url = this.baseUrl + filled(path, call.path ?? {}) + queryText(call.query ?? {})
    return this.#exchange(url, init, timeout)
  }

  async #exchange(url: string, init: RequestInit, timeout: AbortSignal): Promise<Answer> {
    let response: Response
    let bytes: Uint8Array
    try {
      response = await this.fetch(url, init)
      bytes = new Uint8Array(await response.arrayBuffer())
    } catch (error) {
      if (timeout.aborted) throw new TimeoutError(`${url} did not answer in time.`, { cause: error })
      throw unreachable(url, error)
    }
    this.#hasAnswered = true
    this.#note(response.headers)
    const isRedirect = init.redirect === 'manual' && response.status >= 300 && response.status < 400
    if (!response.ok && !isRedirect) throw statusError(url, response, bytes)
    const { status, headers } = response
    return { url, status, headers, contentType: headers.get('content-type') ?? '', bytes }
  }

  /** What the server says of the request's future, once. */
  #note(headers: Headers): void {
    const note = headers.get('x-deprecation-note')
    if (note === null || this.#notes.has(note)) return
    this.#notes.add(note)
    this.#tell(headers.get('x-deprecation-level') === 'error' ? 'error' : 'warning', note)
  }
}

function isInvalidToken(error: unknown): boolean {
  if (!(error instanceof StatusError) || error.status !== 401) return false
  return (error.headers.get('www-authenticate') ?? '').includes('error="invalid_token"')
}

/** Says how often it was tried, where it was more than once. */
function exhausted(error: unknown, attempts: number, start: number): unknown {
  if (error instanceof Error && attempts > 1) {
    error.message += ` (given up after ${attempts} attempts in ${Math.round((Date.now() - start) / 1000)} s)`
  }
  return error
}

function contentType(body: unknown): string {
  return body instanceof Uint8Array ? 'application/x-protobuf' : 'application/json'
}

function encodeBody(body: unknown): string | Uint8Array<ArrayBuffer> {
  return body instanceof Uint8Array ? (body as Uint8Array<ArrayBuffer>) : wireJson(body)
}

/** `/sessions/{session_id}` with its values. Colons and slashes stay: ids and names of models have them. */
function filled(path: string, values: object): string {
  const given = values as Readonly<Record<string, unknown>>
  return path.replace(/\{(\w+)\}/g, (_, name: string) =>
    encodeURIComponent(String(given[name])).replace(/%3A|%2F/g, decodeURIComponent),
  )
}

function queryText(query: object): string {
  const given = Object.entries(query).filter(([, value]) => value !== undefined)
  const text = new URLSearchParams(given.map(([name, value]): [string, string] => [name, String(value)])).toString()
  return text === '' ? '' : `?${text}`
}
