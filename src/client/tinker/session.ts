// One session with a server: begun when it is first needed, kept alive by heartbeats, finished by `close`. Holds what its
// clients share: the server's flags, the counters of the protocol, and the limits on what is under way at once.

import type { SuccessBody } from '../../generated/operations.ts'
import { StatusError, TinkerError } from './errors.ts'
import { type Answer, type Http, parseJson } from './http.ts'
import { poll, type QueueReport } from './polling.ts'
import { INNER_ONLY, NEVER } from './retry.ts'
import { Gate } from './timing.ts'
import { CLIENT_VERSION } from './version.ts'

export interface SessionOptions {
  readonly userMetadata?: Readonly<Record<string, unknown>>
  readonly projectId?: string
  readonly displayName?: string
  readonly tags?: readonly string[]
  /** Told when the server says why an operation waits. */
  readonly onQueue?: (report: QueueReport) => void
  /** Told what the server wants its users to read. */
  readonly onMessage?: (level: 'info' | 'warning' | 'error', message: string) => void
}

export interface Flags {
  readonly maxChunkData: number
  readonly maxChunkBytes: number
  readonly hasParallelChunks: boolean
}

/** What the session has once the server knows it. */
export interface OpenSession {
  readonly id: string
  readonly flags: Flags
  /** Request bodies of training in dispatch, in bytes. */
  readonly uploads: Gate
  /** Announced results being fetched, in bytes. */
  readonly downloads: Gate
  /** Samples from submission to result, by count. */
  readonly samples: Gate
}

const HEARTBEAT_MS = 10_000

export class Session {
  readonly http: Http
  readonly #options: SessionOptions
  #opening: Promise<OpenSession> | undefined
  #heartbeat: ReturnType<typeof setInterval> | undefined
  #isClosed = false
  #models = 0
  #samplers = 0
  #sampleResumesAt = 0

  constructor(http: Http, options: SessionOptions) {
    this.http = http
    this.#options = options
  }

  /** Begins the session on first use; after a failure the next use tries again. */
  open(): Promise<OpenSession> {
    if (this.#isClosed) return Promise.reject(new TinkerError('This client was closed; make a new ServiceClient.'))
    this.#opening ??= this.#begin().catch((error: unknown) => {
      this.#opening = undefined
      throw error
    })
    return this.#opening
  }

  nextModel(): number {
    return this.#models++
  }

  nextSampler(): number {
    return this.#samplers++
  }

  /** After a 429 on a sample all samplers of the session wait this long. */
  pauseSampling(ms: number): void {
    this.#sampleResumesAt = Math.max(this.#sampleResumesAt, Date.now() + ms)
  }

  get samplingPauseMs(): number {
    return Math.max(0, this.#sampleResumesAt - Date.now())
  }

  /** The result of an operation that answers in JSON. */
  async result<T>(requestId: string, type: string, method: string, signal?: AbortSignal): Promise<T> {
    return parseJson((await this.#poll(requestId, type, method, false, signal)).bytes) as T
  }

  /** The result of an operation that answers in protobuf. */
  async binaryResult(requestId: string, type: string, method: string, signal?: AbortSignal): Promise<Uint8Array> {
    return (await this.#poll(requestId, type, method, true, signal)).bytes
  }

  async #poll(
    requestId: string,
    type: string,
    method: string,
    wantsProtobuf: boolean,
    signal?: AbortSignal,
  ): Promise<Answer> {
    const { downloads: responses } = await this.open()
    const onQueue = this.#options.onQueue ?? (() => {})
    return poll({ http: this.http, requestId, type, method, wantsProtobuf, responses, onQueue, signal })
  }

  /** Ends the session on the server; the first reason counts. Nothing is sent when the session was never begun. */
  async close(status: 'success' | 'errored' | 'interrupted', detail?: string): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    const session = await this.#opening?.catch(() => undefined)
    clearInterval(this.#heartbeat)
    if (!session) return
    await this.http.send('finishSession', {
      path: { session_id: session.id },
      body: { reason: { type: status }, detail: detail ?? null },
      method: 'ServiceClient.close',
    })
  }

  async #begin(): Promise<OpenSession> {
    const version = { sdk_version: `twinkle-ts/${CLIENT_VERSION}` }
    const config = await this.http.json('clientConfig', { body: version })
    const { userMetadata, projectId, displayName, tags } = this.#options
    const session = await this.http.json('createSession', {
      body: {
        tags: [...(tags ?? [])],
        user_metadata: { ...userMetadata },
        ...version,
        ...(projectId === undefined ? {} : { project_id: projectId }),
        ...(displayName === undefined ? {} : { display_name: displayName }),
        type: 'create_session',
      },
      retry: INNER_ONLY,
    })
    this.#tell(session)
    this.#keepAlive(session.session_id)
    return {
      id: session.session_id,
      flags: {
        maxChunkData: config.fwdbwd_max_chunk_len ?? 1024,
        maxChunkBytes: config.fwdbwd_max_chunk_bytes_count ?? 5_000_000,
        hasParallelChunks: config.parallel_fwdbwd_chunks ?? true,
      },
      uploads: new Gate(config.fwdbwd_dispatch_bytes_semaphore_size ?? 50_000_000),
      downloads: new Gate(config.inflight_response_bytes_semaphore_size ?? 52_428_800),
      samples: new Gate(config.sample_max_concurrent_requests ?? 2000),
    }
  }

  #tell(session: SuccessBody<'createSession'>): void {
    const tell = this.#options.onMessage
    if (session.info_message) tell?.('info', session.info_message)
    if (session.warning_message) tell?.('warning', session.warning_message)
    if (session.error_message) tell?.('error', session.error_message)
  }

  #keepAlive(id: string): void {
    const timer = setInterval(() => void this.#beat(id), HEARTBEAT_MS)
    // In Node a timer keeps the process alive unless it is told not to; in a browser it is a number.
    if (typeof timer === 'object') timer.unref()
    this.#heartbeat = timer
  }

  async #beat(id: string): Promise<void> {
    const body = { session_id: id, type: 'session_heartbeat' }
    try {
      await this.http.send('sessionHeartbeat', { body, retry: NEVER, timeoutMs: HEARTBEAT_MS })
    } catch (error) {
      // One that is lost is followed by the next; 410 says that the session is over.
      if (error instanceof StatusError && error.status === 410) clearInterval(this.#heartbeat)
    }
  }
}
