// One HTTP exchange with a server, and its repetition: addresses from the generated table of operations, headers, JSON out,
// JSON or protobuf in, timeouts, retries. It knows no sessions and no futures. Web APIs only: it runs in a browser too.

import {
  type OperationId,
  operations,
  type PathParams,
  type RequestBody,
  type SuccessBody,
} from '../../generated/operations.ts'
import { ConnectionError, StatusError, TimeoutError, TinkerError } from './errors.ts'
import { wireJson } from './json.ts'
import { type RetryPolicy, retryDelay, STANDARD } from './retry.ts'
import { sleep } from './timing.ts'
import { CLIENT_VERSION } from './version.ts'

export type Fetch = (url: string, init: RequestInit) => Promise<Response>

export interface HttpOptions {
  readonly baseUrl: string
  readonly apiKey: string
  /** Sent with every request. */
  readonly headers?: Readonly<Record<string, string>>
  readonly fetch?: Fetch
}

export interface Call<K extends OperationId> {
  /** JSON, or bytes of a protobuf message. */
  readonly body?: RequestBody<K> | Uint8Array
  readonly path?: PathParams<K>
  readonly headers?: Readonly<Record<string, string>>
  /** The public method this serves, as the protocol names it: `TrainingClient.optim_step`. */
  readonly method?: string
  readonly accept?: string
  readonly retry?: RetryPolicy
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

export interface Answer {
  readonly status: number
  readonly contentType: string
  readonly bytes: Uint8Array
}

const PROTOBUF = 'application/x-protobuf'

export class Http {
  readonly baseUrl: string
  readonly #apiKey: string
  readonly #headers: Readonly<Record<string, string>>
  readonly #fetch: Fetch

  constructor(options: HttpOptions) {
    if (!/^https?:\/\//.test(options.baseUrl)) {
      throw new TinkerError(`The base URL ${JSON.stringify(options.baseUrl)} does not start with http:// or https://.`)
    }
    this.baseUrl = options.baseUrl.replace(/\/+$/, '')
    this.#apiKey = options.apiKey
    this.#headers = options.headers ?? {}
    this.#fetch = options.fetch ?? ((url, init) => globalThis.fetch(url, init))
  }

  /** The JSON of a successful answer. */
  async json<K extends OperationId>(operation: K, call: Call<K> = {}): Promise<SuccessBody<K>> {
    return parseJson((await this.send(operation, call)).bytes) as SuccessBody<K>
  }

  /** Throws StatusError, ConnectionError or TimeoutError once the policy of repetition is exhausted. */
  async send<K extends OperationId>(operation: K, call: Call<K> = {}): Promise<Answer> {
    const start = Date.now()
    const idempotencyKey = `twinkle-ts-retry-${crypto.randomUUID()}`
    for (let failure = 0; ; failure++) {
      try {
        return await this.#once(operation, call, failure, idempotencyKey)
      } catch (error) {
        if (call.signal?.aborted) throw call.signal.reason
        const delay = retryDelay(call.retry ?? STANDARD, failure, Date.now() - start, error)
        if (delay === null) throw error
        await sleep(delay, call.signal)
      }
    }
  }

  async #once<K extends OperationId>(operation: K, call: Call<K>, count: number, key: string): Promise<Answer> {
    const { method, path } = operations[operation]
    const timeoutMs = call.timeoutMs ?? 60_000
    const timeout = AbortSignal.timeout(timeoutMs)
    const init: RequestInit = {
      method: method.toUpperCase(),
      headers: {
        accept: call.accept ?? 'application/json',
        'x-api-key': this.#apiKey,
        'x-sdk-version': CLIENT_VERSION,
        'x-stainless-retry-count': String(count),
        'x-stainless-read-timeout': String(timeoutMs / 1000),
        ...(call.method === undefined ? {} : { 'x-sdk-method': call.method }),
        ...(method === 'get' ? {} : { 'x-idempotency-key': key, 'content-type': contentType(call.body) }),
        ...this.#headers,
        ...call.headers,
      },
      signal: call.signal ? AbortSignal.any([call.signal, timeout]) : timeout,
      ...(call.body === undefined ? {} : { body: encodeBody(call.body) }),
    }
    return this.#exchange(this.baseUrl + filled(path, call.path ?? {}), init, timeout)
  }

  async #exchange(url: string, init: RequestInit, timeout: AbortSignal): Promise<Answer> {
    let response: Response
    let bytes: Uint8Array
    try {
      response = await this.#fetch(url, init)
      bytes = new Uint8Array(await response.arrayBuffer())
    } catch (error) {
      if (timeout.aborted) throw new TimeoutError(`${url} did not answer in time.`, { cause: error })
      throw new ConnectionError(`${url} could not be reached: ${reasonOf(error)}.`, { cause: error })
    }
    if (!response.ok) throw statusError(response, bytes)
    return { status: response.status, contentType: response.headers.get('content-type') ?? '', bytes }
  }
}

export function isProtobuf(answer: Answer): boolean {
  return answer.contentType.includes(PROTOBUF)
}

export function parseJson(bytes: Uint8Array): unknown {
  const text = new TextDecoder().decode(bytes)
  if (text === '') return undefined
  try {
    return JSON.parse(text)
  } catch {
    throw new TinkerError(`The server's answer is not JSON: ${text.slice(0, 200)}`)
  }
}

function contentType(body: unknown): string {
  return body instanceof Uint8Array ? PROTOBUF : 'application/json'
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

function statusError(response: Response, bytes: Uint8Array): StatusError {
  const text = new TextDecoder().decode(bytes)
  const body = safely(() => JSON.parse(text)) as { detail?: unknown; code?: unknown } | undefined
  const detail = typeof body?.detail === 'string' ? body.detail : text.slice(0, 500) || response.statusText
  const code = typeof body?.code === 'string' ? body.code : undefined
  return new StatusError(response.status, `${response.status}: ${detail}`, response.headers, code)
}

function safely<T>(work: () => T): T | undefined {
  try {
    return work()
  } catch {
    return undefined
  }
}

function reasonOf(error: unknown): string {
  const { message, cause } = error as { message?: string; cause?: { code?: string; message?: string } }
  return cause?.code ?? cause?.message ?? message ?? String(error)
}
