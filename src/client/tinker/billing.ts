// 402 says that the account cannot pay at the moment: work pauses, for everything on one connection together, until it can
// again or the server's longest pause is over. Knows times; the waiting is done by whoever was refused.

import { StatusError } from './errors.ts'
import type { Tell } from './messages.ts'

export const BILLING_PAUSE_MS = 5000
const SAY_AGAIN_MS = 60_000
/** After so long without a refusal the next one begins a new pause. */
const FORGET_MS = 300_000

export class BillingPause {
  /** The longest pause; a flag of the server. */
  limitMs = 3_600_000
  readonly #tell: Tell
  #since = 0
  #lastRefusal = Number.NEGATIVE_INFINITY
  #lastSaid = Number.NEGATIVE_INFINITY

  constructor(tell: Tell) {
    this.#tell = tell
  }

  /** Whether this failure is one to wait out. */
  covers(error: unknown, now = Date.now()): boolean {
    if (!(error instanceof StatusError) || error.status !== 402) return false
    if (now - this.#lastRefusal > FORGET_MS) this.#since = now
    this.#lastRefusal = now
    if (now - this.#since > this.limitMs) return false
    if (now - this.#lastSaid > SAY_AGAIN_MS) {
      this.#lastSaid = now
      this.#tell('warning', `Paused for billing, and going on by itself once that is settled: ${error.message}`)
    }
    return true
  }
}
