// When a request is sent again. Twinkle's operations carry no number by which a server could know a repeated one, so what
// changes something is repeated only where it has certainly not been done: refused for now (429), or never connected.
// Pure: it neither waits nor sends.

export interface Failure {
  /** Absent: there was no answer. */
  readonly status?: number
  /** The request may have reached the server. */
  readonly wasSent: boolean
  readonly retryAfterMs: number | null
}

const ATTEMPTS = 5
const LONGEST_MS = 10_000
/** Whoever is to wait longer is told so instead. */
const MOST_PATIENT_MS = 60_000

/**
 * Milliseconds to wait after the nth failure (from 0), or null when it is final.
 * `isSafe`: doing it twice is doing it once.
 */
export function repeatDelay(failure: Failure, isSafe: boolean, count: number, random = Math.random()): number | null {
  const isUndone = failure.status === 429 || !failure.wasSent
  const isPassing = failure.status === undefined || failure.status === 429 || failure.status >= 500
  if (!isPassing || !(isSafe || isUndone) || count + 1 >= ATTEMPTS) return null
  if ((failure.retryAfterMs ?? 0) > MOST_PATIENT_MS) return null
  return failure.retryAfterMs ?? Math.min(500 * 2 ** count, LONGEST_MS) * (0.75 + random / 4)
}
