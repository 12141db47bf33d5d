// One session with a server: begun when it is first needed, kept alive by heartbeats, finished by `close`. Holds what its
// clients share: the counters of the protocol, and the limits on what is under way at once.

import type { SuccessBody } from '../../generated/operations.ts'
import { checkShape, RESULT_SHAPES } from './answer-shapes.ts'
import type { ClientConfig, Connection } from './connection.ts'
import { SampleDispatch } from './dispatch.ts'
import { isSwitchedOn, variable } from './environment.ts'
import { TinkerError } from './errors.ts'
import { startHeartbeat } from './heartbeat.ts'
import type { Http } from './http.ts'
import { parseJson } from './http-answer.ts'
import { poll, type QueueReport } from './polling.ts'
import { INNER_ONLY, OUTER_ONLY } from './retry.ts'
import { Telemetry } from './telemetry.ts'
import { Gate } from './timing.ts'
import { PROTOCOL_VERSION } from './version.ts'

export interface SessionOptions {
  readonly userMetadata?: Readonly<Record<string, unknown>>
  /** Default: TINKER_PROJECT_ID. */
  readonly projectId?: string
  readonly displayName?: string
  /** Default: TINKER_TAGS, a list with commas. */
  readonly tags?: readonly string[]
  /** Told when the server says why an operation waits. */
  readonly onQueue?: (report: QueueReport) => void
  /** Reports the session and failed calls to the server. Default: off, unless TINKER_TELEMETRY is 1. */
  readonly telemetry?: boolean
}

/** What the session has once the server knows it. */
export interface OpenSession {
  readonly id: string
  readonly config: ClientConfig
  /** Request bodies of training in dispatch, in bytes. */
  readonly uploads: Gate
  /** Announced results being fetched, in bytes. */
  readonly downloads: Gate
  readonly dispatch: SampleDispatch
}

/** An acknowledged operation, and how its result is asked for. */
export interface Pending {
  readonly requestId: string
  /** `OptimStep`, `Sample`, ... */
  readonly type: string
  readonly method: string
  readonly signal?: AbortSignal | undefined
  readonly roundtripMs?: number
  readonly announcedBytes?: number | undefined
}

const CANCEL_TIMEOUT_MS = 30_000

export class Session {
  readonly connection: Connection
  readonly #options: SessionOptions
  /** That of another client, for a copy of one of its samplers. */
  readonly #sharedId: string | undefined
  #opening: Promise<OpenSession> | undefined
  #openId: string | undefined
  #telemetry: Telemetry | undefined
  #stopHeartbeat = () => {}
  #isClosed = false
  #models = 0
  #samplers = 0
  #losses = 0

  constructor(connection: Connection, options: SessionOptions = {}, sharedId?: string) {
    this.connection = connection
    this.#options = options
    this.#sharedId = sharedId
  }

  get http(): Http {
    return this.connection.http
  }

  /** Undefined before the session is begun. */
  get id(): string | undefined {
    return this.#openId
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

  nextCustomLoss(): number {
    return this.#losses++
  }

  /** The result of an operation that answers in JSON. Throws UnexpectedAnswerError when it is not the kind's. */
  async result<T>(pending: Pending): Promise<T> {
    const body = parseJson(await this.#poll(pending, false))
    checkShape(body, RESULT_SHAPES[pending.type] ?? {}, `the result ${pending.requestId} (${pending.type})`)
    return body as T
  }

  /** The result of an operation that answers in protobuf. */
  async binaryResult(pending: Pending): Promise<Uint8Array> {
    return (await this.#poll(pending, true)).bytes
  }

  async #poll(pending: Pending, wantsProtobuf: boolean) {
    const { downloads: responses } = await this.open()
    const onQueue = this.#options.onQueue ?? (() => {})
    return poll({ ...pending, http: this.http, wantsProtobuf, responses, onQueue })
  }

  /** Tells the server that nobody waits for a sample any longer, where it wants to know. */
  cancel(requestId: string): void {
    if (!this.connection.dynamic.sample_cancel_enabled) return
    const call = { body: { request_id: requestId }, retry: OUTER_ONLY, timeoutMs: CANCEL_TIMEOUT_MS }
    // Whoever cancels does not wait; what is not cancelled ends by itself.
    this.http.send('cancelFuture', call).catch(() => undefined)
  }

  /** The same promise; its failure is reported where telemetry is on. */
  watch<T>(promise: Promise<T>): Promise<T> {
    promise.catch((error: unknown) => this.#telemetry?.failure(error))
    return promise
  }

  /** Ends the session on the server; the first reason counts. Nothing is sent when the session was never begun. */
  async close(status: 'success' | 'errored' | 'interrupted', detail?: string): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    const session = await this.#opening?.catch(() => undefined)
    this.#stopHeartbeat()
    if (session && this.#sharedId === undefined) {
      await this.http.send('finishSession', {
        path: { session_id: session.id },
        body: { reason: { type: status }, detail: detail ?? null },
        method: 'ServiceClient.close',
      })
    }
    await this.#telemetry?.close()
    this.connection.close()
  }

  async #begin(): Promise<OpenSession> {
    const config = await this.connection.open()
    const id = this.#sharedId ?? (await this.#create())
    this.#openId = id
    this.#stopHeartbeat = startHeartbeat(this.http, id, (message) => this.connection.tell('warning', message))
    this.connection.keepFresh()
    if (this.#options.telemetry ?? isSwitchedOn('TINKER_TELEMETRY')) this.#telemetry = new Telemetry(this.http, id)
    return {
      id,
      config,
      uploads: new Gate(config.fwdbwd_dispatch_bytes_semaphore_size ?? 50_000_000),
      downloads: new Gate(config.inflight_response_bytes_semaphore_size ?? 52_428_800),
      dispatch: new SampleDispatch(config.sample_dispatch_bytes_semaphore_size ?? 10_485_760),
    }
  }

  async #create(): Promise<string> {
    const { userMetadata, displayName } = this.#options
    const projectId = this.#options.projectId ?? variable('TINKER_PROJECT_ID')
    const tags = this.#options.tags ?? variable('TINKER_TAGS')?.split(',') ?? []
    const session = await this.http.json('createSession', {
      body: {
        tags: [...new Set(tags)],
        user_metadata: { ...userMetadata },
        sdk_version: PROTOCOL_VERSION,
        ...(projectId === undefined ? {} : { project_id: projectId }),
        ...(displayName === undefined ? {} : { display_name: displayName }),
        type: 'create_session',
      },
      retry: INNER_ONLY,
    })
    this.#tell(session)
    return session.session_id
  }

  #tell(session: SuccessBody<'createSession'>): void {
    const { tell } = this.connection
    if (session.info_message) tell('info', session.info_message)
    if (session.warning_message) tell('warning', session.warning_message)
    if (session.error_message) tell('error', session.error_message)
  }
}
