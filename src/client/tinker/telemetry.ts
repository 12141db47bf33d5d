// What a client reports about itself to its server, where it was asked to (it is off unless it is switched on): that a session
// began, which calls failed and how. Names and messages of errors; never headers, keys, prompts or data.

import { platformName } from './environment.ts'
import { isUserError, StatusError } from './errors.ts'
import type { Http } from './http.ts'
import { INNER_ONLY } from './retry.ts'
import { repeat } from './timing.ts'
import { PROTOCOL_VERSION } from './version.ts'

interface TelemetryEvent {
  readonly event: 'SESSION_START' | 'SESSION_END' | 'UNHANDLED_EXCEPTION' | 'GENERIC_EVENT'
  readonly event_id: string
  readonly event_session_index: number
  readonly severity: 'INFO' | 'WARNING' | 'ERROR'
  readonly timestamp: string
  readonly [field: string]: unknown
}

const FLUSH_MS = 10_000
const SEND_TIMEOUT_MS = 5000
const BATCH = 100
const LONGEST_QUEUE = 10_000

const processUuid = crypto.randomUUID()

export class Telemetry {
  readonly #http: Http
  readonly #sessionId: string
  readonly #start = Date.now()
  readonly #stop: () => void
  #queue: TelemetryEvent[] = []
  #count = 0

  constructor(http: Http, sessionId: string) {
    this.#http = http
    this.#sessionId = sessionId
    this.#add('SESSION_START', 'INFO', {})
    this.#stop = repeat(FLUSH_MS, () => this.flush())
  }

  /** A call that failed. The Python SDK counts the session as ended by it, although both can go on. */
  failure(error: unknown): void {
    const { name, message } = error as { name?: string; message?: string }
    if (isUserError(error)) {
      const status = error instanceof StatusError ? { status_code: error.status } : {}
      const data = { error_type: name ?? 'Error', message: message ?? String(error), ...status }
      this.#add('GENERIC_EVENT', 'WARNING', { event_name: 'user_error', event_data: data })
    } else {
      this.#add('UNHANDLED_EXCEPTION', 'ERROR', {
        error_type: name ?? 'Error',
        error_message: message ?? String(error),
      })
    }
    this.#add('SESSION_END', 'INFO', { duration: timedelta(Date.now() - this.#start) })
  }

  /** Sends what there is. A batch that cannot be sent is dropped: nothing waits for telemetry, and nothing fails by it. */
  async flush(): Promise<void> {
    while (this.#queue.length > 0) {
      const events = this.#queue.splice(0, BATCH)
      const body = {
        events,
        platform: platformName(),
        sdk_version: PROTOCOL_VERSION,
        session_id: this.#sessionId,
        process_uuid: processUuid,
      }
      await this.#http
        .send('reportTelemetry', { body, retry: INNER_ONLY, timeoutMs: SEND_TIMEOUT_MS })
        .catch(() => undefined)
    }
  }

  close(): Promise<void> {
    this.#stop()
    return this.flush()
  }

  #add(event: TelemetryEvent['event'], severity: TelemetryEvent['severity'], fields: object): void {
    if (this.#queue.length >= LONGEST_QUEUE) return
    const base = { event, event_id: crypto.randomUUID(), event_session_index: this.#count++, severity }
    this.#queue.push({ ...base, timestamp: new Date().toISOString(), ...fields })
  }
}

/** As Python writes a duration: `0:00:00.047000`, with days before it where there are any. */
function timedelta(ms: number): string {
  const pad = (value: number, width = 2) => String(value).padStart(width, '0')
  const seconds = Math.floor(ms / 1000)
  const days = Math.floor(seconds / 86_400)
  const clock = `${Math.floor(seconds / 3600) % 24}:${pad(Math.floor(seconds / 60) % 60)}:${pad(seconds % 60)}`
  const fraction = ms % 1000 === 0 ? '' : `.${pad(ms % 1000, 3)}000`
  return `${days === 0 ? '' : `${days} day${days === 1 ? '' : 's'}, `}${clock}${fraction}`
}
