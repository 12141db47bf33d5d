// Waits for the result of one submitted operation: asks, is held by the server, asks again. What each answer means is the
// protocol's table; only this file knows it.

import { BILLING_PAUSE_MS } from './billing.ts'
import { RequestFailedError, StatusError, UnexpectedAnswerError } from './errors.ts'
import type { Http } from './http.ts'
import { type Answer, isProtobuf, parseJson } from './http-answer.ts'
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
  /** From submission to acknowledgement; the server likes to know. */
  readonly roundtripMs?: number | undefined
  /** Size of a result that is known to be there. */
  readonly announcedBytes?: number | undefined
}

type Found =
  | { readonly kind: 'result'; readonly answer: Answer }
  | { readonly kind: 'announced'; readonly bytes: number; readonly iteration: number }
type Outcome = Found | { readonly kind: 'pending' }

const POLL_TIMEOUT_MS = 45_000
/** A server that answers "not yet" faster than this would have us ask in a loop. */
const SHORTEST_ROUND_MS = 250
/** A proxy may turn a request away that the server would take. */
const BAD_REQUEST_RETRIES = 3

/** The answer with the result in it. Throws RequestFailedError when the operation failed. */
export async function poll(options: PollOptions): Promise<Answer> {
  const bytes = options.announcedBytes
  const found: Found =
    bytes === undefined ? await untilFound(options, 0, true) : { kind: 'announced', bytes, iteration: -1 }
  if (found.kind === 'result') return found.answer
  return options.responses.pass(found.bytes, async () => {
    const fetched = await untilFound(options, found.iteration + 1, false)
    if (fetched.kind === 'result') return fetched.answer
    throw new UnexpectedAnswerError(`The server announced the result of ${options.requestId} and then did not send it.`)
  })
}

async function untilFound(options: PollOptions, first: number, mayAnnounce: boolean): Promise<Found> {
  let failures = 0
  let badRequests = 0
  for (let iteration = first; ; iteration++) {
    const start = Date.now()
    try {
      const outcome = await ask(options, iteration, mayAnnounce)
      if (outcome.kind !== 'pending') return outcome
      failures = 0
    } catch (error) {
      options.signal?.throwIfAborted()
      const isBadRequest = error instanceof StatusError && error.status === 400
      if (options.http.billing.covers(error)) await sleep(BILLING_PAUSE_MS, options.signal)
      else if (isBadRequest ? badRequests++ >= BAD_REQUEST_RETRIES : !isRetryable(error)) throw error
      else if (!isBadRequest) await sleep(backoff(failures++), options.signal)
    }
    await sleep(Math.max(0, SHORTEST_ROUND_MS - (Date.now() - start)), options.signal)
  }
}

async function ask(options: PollOptions, iteration: number, mayAnnounce: boolean): Promise<Outcome> {
  const { roundtripMs } = options
  try {
    const answer = await options.http.send('retrieveFuture', {
      body: { request_id: options.requestId, allow_metadata_only: mayAnnounce },
      headers: {
        'x-tinker-request-iteration': String(iteration),
        'x-tinker-request-type': options.type,
        'x-stainless-raw-response': 'raw',
        ...(iteration === 0 && roundtripMs !== undefined
          ? { 'x-tinker-create-promise-roundtrip-time': String(roundtripMs / 1000) }
          : {}),
      },
      accept: options.wantsProtobuf ? 'application/x-protobuf' : 'application/json',
      method: options.method,
      retry: NEVER,
      timeoutMs: POLL_TIMEOUT_MS,
      signal: options.signal,
    })
    return isProtobuf(answer) ? { kind: 'result', answer } : readJson(options, answer, iteration)
  } catch (error) {
    if (!(error instanceof StatusError) || error.status !== 408) throw error
    return { kind: 'pending' }
  }
}

function readJson(options: PollOptions, answer: Answer, iteration: number): Outcome {
  const body = (parseJson(answer) ?? {}) as Readonly<Record<string, unknown>>
  if (body.type === 'try_again') {
    const reason = body.queue_state_reason
    options.onQueue({ state: String(body.queue_state), reason: typeof reason === 'string' ? reason : undefined })
    return { kind: 'pending' }
  }
  if (body.status === 'complete_metadata') {
    return { kind: 'announced', bytes: Number(body.response_payload_size ?? 0), iteration }
  }
  if ('error' in body) throw new RequestFailedError(options.requestId, String(body.category), String(body.error))
  if (!options.wantsProtobuf) return { kind: 'result', answer }
  throw new UnexpectedAnswerError(
    `The result of ${options.requestId} (${options.type}) came as JSON, where this client reads protobuf. Next: update the server: it is older than SDK 0.25's protocol, or not a Tinker server.`,
  )
}
