/**
 * The hub's HTTP: what a repository holds, what a file is, and its bytes from any offset.
 * Knows requests, answers and retries; knows neither files on disk nor which files a model needs.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { HubError, type HubReference, type HubSettings } from './hub-reference.ts'

const ATTEMPTS = 5
const MOST_REDIRECTS = 5

/** The hub could not be asked at all, as opposed to an answer that says no. */
export class HubUnreachableError extends HubError {}

export interface RepositoryListing {
  /** 40 hex digits. */
  readonly commit: string
  readonly files: readonly string[]
}

export interface RemoteFile {
  readonly url: string
  readonly name: string
  readonly bytes: number
  /** SHA-256 (large files) or git blob SHA-1 (small ones) in hex; another text where a mirror has its own. */
  readonly etag: string
}

export interface HubClientOptions {
  readonly settings: HubSettings
  readonly signal?: AbortSignal | undefined
  /** Before the second attempt; doubles with each further one. */
  readonly firstRetryMs?: number | undefined
}

export class HubClient {
  private readonly options: HubClientOptions

  constructor(options: HubClientOptions) {
    this.options = options
  }

  async list(reference: HubReference): Promise<RepositoryListing> {
    const { repository, revision } = reference
    const url = `${this.options.settings.endpoint}/api/models/${repository}/revision/${encodeURIComponent(revision)}`
    const response = await this.request(url, { redirect: 'follow' }, `model ${repository} at revision ${revision}`)
    const { sha, siblings } = (await response.json()) as { sha?: unknown; siblings?: { rfilename?: unknown }[] }
    if (typeof sha !== 'string' || !/^[0-9a-f]{40}$/.test(sha) || !Array.isArray(siblings)) {
      throw new HubError(`${url} does not answer as a model hub does; is HF_ENDPOINT right?`)
    }
    return { commit: sha, files: siblings.map(({ rfilename }) => String(rfilename)) }
  }

  /** Asks without following to the storage: the hub's own answer carries size and checksum. */
  async describe(repository: string, commit: string, name: string): Promise<RemoteFile> {
    const { endpoint } = this.options.settings
    const path = name.split('/').map(encodeURIComponent).join('/')
    let url = `${endpoint}/${repository}/resolve/${commit}/${path}`
    for (let hop = 0; hop <= MOST_REDIRECTS; hop++) {
      const response = await this.request(url, { method: 'HEAD', redirect: 'manual' }, `${name} of ${repository}`)
      const target = new URL(response.headers.get('location') ?? url, url)
      const moved = response.status >= 300 && target.origin === new URL(endpoint).origin && target.href !== url
      if (!moved || response.headers.has('x-linked-etag')) return remoteFile(url, name, response)
      url = target.href
    }
    throw new HubError(`${name} of ${repository} is redirected more than ${MOST_REDIRECTS} times`)
  }

  /** The file's bytes from `offset` on, or from 0 where the storage cannot start in the middle; says which. */
  async read(file: RemoteFile, offset: number): Promise<{ start: number; body: AsyncIterable<Uint8Array> }> {
    const headers: Record<string, string> = offset > 0 ? { range: `bytes=${offset}-` } : {}
    const response = await this.request(file.url, { headers, redirect: 'follow' }, file.name)
    const range = /^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '')
    const start = response.status === 206 ? Number(range?.[1] ?? Number.NaN) : 0
    if (!response.body || (start !== 0 && start !== offset))
      throw new HubError(`${file.url} answers another range than asked`)
    return { start, body: response.body as unknown as AsyncIterable<Uint8Array> }
  }

  /** Waits before attempt number `attempt` (from 1) is repeated; false when there have been enough. */
  async backOff(attempt: number, seconds = 0): Promise<boolean> {
    if (attempt >= ATTEMPTS) return false
    const { firstRetryMs = 1000, signal } = this.options
    await delay(Math.max(seconds * 1000, firstRetryMs * 2 ** (attempt - 1)), undefined, signal ? { signal } : {})
    return true
  }

  private async request(
    url: string,
    init: RequestInit & { headers?: Record<string, string> },
    what: string,
  ): Promise<Response> {
    const { settings, signal } = this.options
    // Compressed answers would make lengths and ranges those of the compressed bytes.
    const headers = { 'accept-encoding': 'identity', 'user-agent': 'twinkle-ts', ...init.headers }
    const authorised = settings.token ? { ...headers, authorization: `Bearer ${settings.token}` } : headers
    for (let attempt = 1; ; attempt++) {
      try {
        const response = await fetch(url, { ...init, headers: authorised, signal: signal ?? null })
        if (response.status < 400) return response
        await response.body?.cancel()
        const retryAfter = Number(response.headers.get('retry-after')) || 0
        const temporary = response.status === 429 || response.status >= 500
        if (!temporary || !(await this.backOff(attempt, Math.min(retryAfter, 60))))
          throw refusal(response, what, settings)
      } catch (cause) {
        if (cause instanceof HubError || signal?.aborted) throw cause
        if (!(await this.backOff(attempt))) throw unreachable(settings, cause)
      }
    }
  }
}

export function unreachable(settings: HubSettings, cause: unknown): HubUnreachableError {
  const { message, cause: inner } = cause as Error
  const reason = inner instanceof Error && inner.message ? inner.message : message
  return new HubUnreachableError(
    `${settings.endpoint} cannot be reached (${reason}); HF_ENDPOINT names another hub, HF_HUB_OFFLINE=1 uses what is downloaded`,
    { cause },
  )
}

function remoteFile(url: string, name: string, { headers, status }: Response): RemoteFile {
  const etag = (headers.get('x-linked-etag') ?? headers.get('etag') ?? '').replace(/^W\//, '').replaceAll('"', '')
  // The length of a redirection is that of its own page.
  const length = headers.get('x-linked-size') ?? (status < 300 ? headers.get('content-length') : null)
  const bytes = length === null ? Number.NaN : Number(length)
  if (etag === '' || !Number.isSafeInteger(bytes)) throw new HubError(`${url} says neither size nor ETag of ${name}`)
  return { url, name, bytes, etag }
}

function refusal(response: Response, what: string, settings: HubSettings): HubError {
  const { status } = response
  const says = response.headers.get('x-error-message') ?? response.statusText
  if (status === 404) return new HubError(`${settings.endpoint} has no ${what}`)
  if (status === 401 || status === 403) {
    const token = settings.token ? 'the token in use has no access to it' : 'it may need a token: set HF_TOKEN'
    return new HubError(`${settings.endpoint} refuses ${what} (${status} ${says}); is the name right? ${token}`)
  }
  return new HubError(`${settings.endpoint} answers ${status} ${says} for ${what}`)
}
