// When a request is sent again, and after how long: two nested layers, as in the protocol. The inner one retries quickly,
// the outer one starts it anew until five minutes have passed. Pure: it neither waits nor sends.

import { ConnectionError, StatusError } from './errors.ts'

export interface RetryPolicy {
  /** Quick retries before the outer layer takes over. */
  readonly inner: number
  readonly hasOuter: boolean
  /** A status that the caller deals with itself. */
  readonly leaves?: number
  /** Between repetitions, instead of a time that grows. */
  readonly waitMs?: number
}

export const STANDARD: RetryPolicy = { inner: 10, hasOuter: true }
/** Calls whose repetition the server cannot tell from a new one within the outer layer's minutes. */
export const INNER_ONLY: RetryPolicy = { inner: 10, hasOuter: false }
export const OUTER_ONLY: RetryPolicy = { inner: 0, hasOuter: true }
export const NEVER: RetryPolicy = { inner: 0, hasOuter: false }
/** Samples: "too many" is not a failure but a request to wait, which the sampling client does for all of them. */
export const SAMPLING: RetryPolicy = { inner: 0, hasOuter: true, leaves: 429 }

const OUTER_LIMIT_MS = 300_000

export function isRetryable(error: unknown): boolean {
  if (error instanceof ConnectionError) return true
  if (!(error instanceof StatusError)) return false
  const advice = error.headers.get('x-should-retry')
  if (advice === 'true' || advice === 'false') return advice === 'true'
  // A 400 without a word is a proxy's: a server of the protocol says what is wrong.
  if (error.status === 400 && error.headers.get('content-length') === '0') return true
  return error.status === 408 || error.status === 409 || error.status === 429 || error.status >= 500
}

/**
 * Milliseconds to wait after the nth failure (from 0) of one call, or null when it is final.
 * `random` is in [0, 1).
 */
export function retryDelay(
  policy: RetryPolicy,
  failure: number,
  elapsedMs: number,
  error: unknown,
  random = Math.random(),
): number | null {
  if (!isRetryable(error) || (error instanceof StatusError && error.status === policy.leaves)) return null
  const place = failure % (policy.inner + 1)
  if (place < policy.inner && policy.waitMs !== undefined) return policy.waitMs
  if (place < policy.inner) return advisedDelay(error) ?? Math.min(500 * 2 ** place, 10_000) * (0.75 + random / 4)
  if (!policy.hasOuter || elapsedMs >= OUTER_LIMIT_MS) return null
  return backoff(Math.floor(failure / (policy.inner + 1)))
}

/** 1, 2, 4, ... at most 30 seconds. */
export function backoff(failure: number): number {
  return Math.min(1000 * 2 ** failure, 30_000)
}

/** The server's own advice, if it is more than nothing and at most a minute. */
function advisedDelay(error: unknown): number | null {
  if (!(error instanceof StatusError)) return null
  const exact = Number(error.headers.get('retry-after-ms') ?? Number.NaN)
  const header = error.headers.get('retry-after')
  const seconds = header === null ? Number.NaN : Number(header)
  const date = header === null || !Number.isNaN(seconds) ? Number.NaN : Date.parse(header) - Date.now()
  return [exact, seconds * 1000, date].find((ms) => ms > 0 && ms <= 60_000) ?? null
}
