// One question for all samples of a client that are under way (POST retrieve_futures), where the server prefers that to one
// poll each: learns which of them are done, and tells the server which results have been fetched, so that it can forget them.

import { StatusError, TinkerError } from './errors.ts'
import type { Http } from './http.ts'
import { isRetryable, NEVER } from './retry.ts'
import { sleep, unlessAborted } from './timing.ts'

const POLL_TIMEOUT_MS = 45_000
const ACK_TIMEOUT_MS = 5000
const RETRY_MS = 1000
const BAD_REQUEST_RETRIES = 3

interface Waiter {
  readonly resolve: (bytes: number | undefined) => void
  readonly reject: (error: unknown) => void
}

export class FuturesPoller {
  readonly #http: Http
  readonly #target: { type: 'sampling_session'; sampling_session_id: string; cloned_sampler_id: number }
  readonly #waiting = new Map<string, Waiter>()
  /** Sizes of results that came before anybody waited for them. */
  readonly #early = new Map<string, number | undefined>()
  readonly #fetched = new Set<string>()
  #failure: unknown
  #isRunning = false
  #cursor = 0
  #acknowledged = 0

  constructor(http: Http, samplingSessionId: string, clone: number) {
    this.#http = http
    this.#target = { type: 'sampling_session', sampling_session_id: samplingSessionId, cloned_sampler_id: clone }
  }

  /** Resolves when the request is done, with the size of its result where the server gives one. */
  done(requestId: string, signal?: AbortSignal): Promise<number | undefined> {
    if (this.#early.has(requestId)) {
      const bytes = this.#early.get(requestId)
      this.#early.delete(requestId)
      return Promise.resolve(bytes)
    }
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    const done = new Promise<number | undefined>((resolve, reject) => {
      this.#waiting.set(requestId, { resolve, reject })
    })
    this.#wake()
    return unlessAborted(done, signal).catch((error: unknown) => {
      this.#waiting.delete(requestId)
      throw error
    })
  }

  /** The result has been fetched; the next question says so. */
  fetched(requestId: string): void {
    this.#fetched.add(requestId)
    this.#wake()
  }

  #wake(): void {
    if (this.#isRunning || this.#failure !== undefined) return
    this.#isRunning = true
    void this.#run()
  }

  /** Ends when nobody waits and nothing is left to be told. */
  async #run(): Promise<void> {
    let badRequests = 0
    while (this.#waiting.size > 0 || this.#fetched.size > 0 || this.#cursor > this.#acknowledged) {
      try {
        await this.#ask()
        badRequests = 0
      } catch (error) {
        const isBadRequest = error instanceof StatusError && error.status === 400 && badRequests++ < BAD_REQUEST_RETRIES
        if (!isBadRequest && !isRetryable(error) && !this.#http.billing.covers(error)) return this.#fail(error)
        await sleep(RETRY_MS)
      }
    }
    this.#isRunning = false
  }

  async #ask(): Promise<void> {
    const told = [...this.#fetched].sort()
    const before = this.#cursor
    const tellsOnly = this.#waiting.size === 0
    const { completions, cursor } = await this.#http.json('retrieveFutures', {
      body: {
        target: this.#target,
        prev_cursor: before,
        ...(tellsOnly ? { timeout: 0 } : {}),
        retrieved_request_ids: told,
      },
      retry: NEVER,
      timeoutMs: tellsOnly ? ACK_TIMEOUT_MS : POLL_TIMEOUT_MS,
    })
    for (const id of told) this.#fetched.delete(id)
    this.#acknowledged = Math.max(this.#acknowledged, before)
    this.#cursor = cursor
    for (const completion of completions) {
      const bytes =
        completion.state === 'finished' ? (completion.response_payload_uncompressed_size ?? undefined) : undefined
      const waiter = this.#waiting.get(completion.request_id)
      this.#waiting.delete(completion.request_id)
      if (waiter) waiter.resolve(bytes)
      else this.#early.set(completion.request_id, bytes)
    }
  }

  #fail(cause: unknown): void {
    const session = this.#target.sampling_session_id
    const message = `Waiting for samples of ${session} failed: ${(cause as Error).message}`
    this.#failure = new TinkerError(message, { cause })
    for (const { reject } of this.#waiting.values()) reject(this.#failure)
    this.#waiting.clear()
  }
}
