// Waits for the result of one submitted operation: asks, is held by the server, asks again. What each answer means is the
// protocol's table; only this file knows it.

import { RequestFailedError, StatusError, TinkerError } from './errors.ts'
import { type Answer, type Http, isProtobuf, parseJson } from './http.ts'
import { backoff, isRetryable, NEVER } from './retry.ts'
import { type Gate, sleep } from './timing.ts'

export interface QueueReport {
  /** `active`, `paused_capacity` or `paused_rate_limit`. */
  readonly state: string
  readonly reason: string | undefined
}

export interface PollOptions {
  readonly http: Http
  readonly requestId: string
  /** `OptimStep`, `Sample`, ...: for the server's metrics. */
  readonly type: string
  readonly method: string
  readonly wantsProtobuf: boolean
  /** Limits the bytes of announced results that are fetched at once. */
  readonly responses: Gate
  readonly onQueue: (report: QueueReport) => void
  readonly signal?: AbortSignal | undefined
}

type Outcome =
  | { readonly kind: 'result'; readonly answer: Answer }
  | { readonly kind: 'announced'; readonly bytes: number }
  | { readonly kind: 'pending' }

const POLL_TIMEOUT_MS = 45_000
/** A server that answers "not yet" faster than this would have us ask in a loop. */
const SHORTEST_ROUND_MS = 250
/** A proxy may turn a request away that the server would take. */
const BAD_REQUEST_RETRIES = 3

/** The answer with the result in it. Throws RequestFailedError when the operation failed. */
export async function poll(options: PollOptions): Promise<Answer> {
  let failures = 0
  let badRequests = 0
  for (let iteration = 0; ; iteration++) {
    const start = Date.now()
    try {
      const outcome = await ask(options, iteration, true)
      if (outcome.kind === 'result') return outcome.answer
      if (outcome.kind === 'announced') return await options.responses.pass(outcome.bytes, () => fetchResult(options))
      failures = 0
    } catch (error) {
      options.signal?.throwIfAborted()
      const isBadRequest = error instanceof StatusError && error.status === 400
      if (isBadRequest ? badRequests++ >= BAD_REQUEST_RETRIES : !isRetryable(error)) throw error
      if (!isBadRequest) await sleep(backoff(failures++), options.signal)
    }
    await sleep(Math.max(0, SHORTEST_ROUND_MS - (Date.now() - start)), options.signal)
  }
}

async function ask(options: PollOptions, iteration: number, mayAnnounce: boolean): Promise<Outcome> {
  try {
    const answer = await options.http.send('retrieveFuture', {
      body: { request_id: options.requestId, allow_metadata_only: mayAnnounce },
      headers: { 'x-tinker-request-iteration': String(iteration), 'x-tinker-request-type': options.type },
      accept: options.wantsProtobuf ? 'application/x-protobuf' : 'application/json',
      method: options.method,
      retry: NEVER,
      timeoutMs: POLL_TIMEOUT_MS,
      ...(options.signal ? { signal: options.signal } : {}),
    })
    return isProtobuf(answer) ? { kind: 'result', answer } : readJson(options, answer)
  } catch (error) {
    if (!(error instanceof StatusError) || error.status !== 408) throw error
    return { kind: 'pending' }
  }
}

function readJson(options: PollOptions, answer: Answer): Outcome {
  const body = (parseJson(answer.bytes) ?? {}) as Readonly<Record<string, unknown>>
  if (body.type === 'try_again') {
    const reason = body.queue_state_reason
    options.onQueue({ state: String(body.queue_state), reason: typeof reason === 'string' ? reason : undefined })
    return { kind: 'pending' }
  }
  if (body.status === 'complete_metadata') return { kind: 'announced', bytes: Number(body.response_payload_size) }
  if ('error' in body) throw new RequestFailedError(options.requestId, String(body.category), String(body.error))
  if (options.wantsProtobuf) throw new TinkerError('The server answered with JSON where only protobuf is a result.')
  return { kind: 'result', answer }
}

async function fetchResult(options: PollOptions): Promise<Answer> {
  for (let failures = 0; ; failures++) {
    try {
      const outcome = await ask(options, failures, false)
      if (outcome.kind === 'result') return outcome.answer
      throw new TinkerError('The server announced a result and then did not send it.')
    } catch (error) {
      if (!isRetryable(error)) throw error
      await sleep(backoff(failures), options.signal)
    }
  }
}
