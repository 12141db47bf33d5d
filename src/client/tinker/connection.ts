// What every client needs of a server before its first call: the flags that the server sets, a token where it wants one, and
// the flags that it may change at any time. Sessions and REST clients are built on it; it begins no session.

import type { SuccessBody } from '../../generated/operations.ts'
import { ApiKey, ExchangedToken } from './credential.ts'
import { variable } from './environment.ts'
import { NotFoundError, StatusError, TinkerError, UnexpectedAnswerError } from './errors.ts'
import { type Fetch, Http } from './http.ts'
import { consoleTell, type Tell } from './messages.ts'
import { NEVER, OUTER_ONLY } from './retry.ts'
import { repeat } from './timing.ts'
import { transport } from './transport.ts'
import { PROTOCOL_VERSION } from './version.ts'

export interface ConnectionOptions {
  /** Default: TINKER_BASE_URL, then where `twinkle serve` listens: http://127.0.0.1:8000. */
  readonly baseUrl?: string
  /** Default: TINKER_API_KEY. A local server without keys takes any that begins with tml-. */
  readonly apiKey?: string
  /** Sent with every request, in place of the client's own of the same name. */
  readonly headers?: Readonly<Record<string, string>>
  /** Default: the global one. */
  readonly fetch?: Fetch
  /** Told what a person should read: messages of the server, a server that does not answer, pauses. Default: the console. */
  readonly onMessage?: Tell
  /** How long a server that has never answered is tried, in milliseconds: it may be starting, or the address wrong; 30 000. */
  readonly firstAnswerMs?: number
  /**
   * Encodes request bodies as zstd, for servers that set `proto_compress_fwdbwd`; for instance `zlib.zstdCompressSync` of
   * Node 22.15 and later. Default: frames of our own, which are valid and not smaller.
   */
  readonly zstd?: (bytes: Uint8Array) => Uint8Array | Promise<Uint8Array>
}

export type ClientConfig = SuccessBody<'clientConfig'>
export type DynamicConfig = SuccessBody<'clientDynamicConfig'>

const DEFAULT_BASE_URL = 'http://127.0.0.1:8000'
const DYNAMIC_TIMEOUT_MS = 10_000
const SHORTEST_REFRESH_S = 10
const VERSION = { sdk_version: PROTOCOL_VERSION }

export class Connection {
  readonly http: Http
  readonly tell: Tell
  readonly zstd: ConnectionOptions['zstd']
  #opening: Promise<ClientConfig> | undefined
  #dynamic: DynamicConfig = {}
  #stopRefresh: (() => void) | undefined

  /** Throws TinkerError without a key, for a key that is none, or for a URL that is none. */
  constructor(given: ConnectionOptions = {}) {
    const options = transport.connect(given)
    this.tell = options.onMessage ?? consoleTell
    this.zstd = options.zstd
    const apiKey = options.apiKey || variable('TINKER_API_KEY')
    if (!apiKey) {
      throw new TinkerError(
        'No API key: pass apiKey, or set TINKER_API_KEY. A local server without keys takes any, such as tml-local.',
      )
    }
    this.http = new Http({
      baseUrl: options.baseUrl || variable('TINKER_BASE_URL') || DEFAULT_BASE_URL,
      credential: new ApiKey(apiKey),
      tell: this.tell,
      headers: { ...cloudflareHeaders(), ...options.headers },
      ...(options.fetch ? { fetch: options.fetch } : {}),
      ...(options.firstAnswerMs === undefined ? {} : { firstAnswerMs: options.firstAnswerMs }),
    })
  }

  /** The server's flags, asked for once; after a failure the next use tries again. */
  open(): Promise<ClientConfig> {
    this.#opening ??= this.#ask().catch((error: unknown) => {
      this.#opening = undefined
      throw error
    })
    return this.#opening
  }

  /** The latest of the flags that may change; read it when it is needed, do not keep it. */
  get dynamic(): DynamicConfig {
    return this.#dynamic
  }

  /** Takes flags that another client was given, instead of asking. */
  adopt(config: ClientConfig, dynamic: DynamicConfig): void {
    this.#configure(config)
    this.#dynamic = dynamic
    this.#opening = Promise.resolve(config)
  }

  /** Asks for the changeable flags again from time to time, until `close`. */
  keepFresh(): void {
    const seconds = Math.max(this.#dynamic.refresh_interval_sec ?? 300, SHORTEST_REFRESH_S)
    this.#stopRefresh ??= repeat(seconds * 1000, async () => {
      try {
        this.#dynamic = await this.#askDynamic(NEVER)
      } catch {
        // The flags that were good a moment ago are good still; the next round asks again.
      }
    })
  }

  close(): void {
    this.#stopRefresh?.()
  }

  async #ask(): Promise<ClientConfig> {
    const config = await this.http.json('clientConfig', { body: VERSION }).catch((error: unknown) => {
      throw error instanceof NotFoundError ? notTinker(this.http.baseUrl, error) : error
    })
    this.#configure(config)
    try {
      this.#dynamic = await this.#askDynamic(OUTER_ONLY)
    } catch (error) {
      // Servers older than this route have none of these flags.
      if (!(error instanceof StatusError) || error.status !== 404) throw error
    }
    return config
  }

  #configure(config: ClientConfig): void {
    this.http.billing.limitMs = (config.billing_exception_max_pause_duration_sec ?? 3600) * 1000
    if (!config.pjwt_auth_enabled) return
    const key = this.http.credential
    if (!(key instanceof ApiKey)) return
    this.http.credential = new ExchangedToken(
      async () => (await this.http.json('authToken', { body: {}, credential: key })).jwt,
    )
  }

  #askDynamic(retry: typeof NEVER): Promise<DynamicConfig> {
    return this.http.json('clientDynamicConfig', { body: VERSION, retry, timeoutMs: DYNAMIC_TIMEOUT_MS })
  }
}

function notTinker(baseUrl: string, cause: NotFoundError): UnexpectedAnswerError {
  return new UnexpectedAnswerError(
    `${baseUrl} has no /api/v1/client/config, so it is not a Tinker server (or one for SDKs before 0.18). Next: check the base URL (baseUrl, or TINKER_BASE_URL), a path before /api/v1 included; it said: ${cause.message}`,
    { cause },
  )
}

/** For servers behind Cloudflare Access, as the Python SDK has it. */
function cloudflareHeaders(): Record<string, string> {
  const id = variable('CLOUDFLARE_ACCESS_CLIENT_ID')
  const secret = variable('CLOUDFLARE_ACCESS_CLIENT_SECRET')
  return {
    ...(id === undefined ? {} : { 'cf-access-client-id': id }),
    ...(secret === undefined ? {} : { 'cf-access-client-secret': secret }),
  }
}
