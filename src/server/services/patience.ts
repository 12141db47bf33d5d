// What was acknowledged does not fail because the database or its disk does: it waits. Tries work again, ever more slowly,
// until it is done, or the server closes. Knows pauses and what is worth them; nothing of the work.

import { setTimeout } from 'node:timers/promises'
import { isAway } from '../store/postgres-driver.ts'
import { CLOSED } from './hosted-engine.ts'

const FIRST_PAUSE_MS = 250
const LONGEST_PAUSE_MS = 30_000

export interface Waiting {
  /** Whose future it is, for the log. */
  readonly id: string | null
  /** Whether what was thrown may be another time. */
  readonly isWorthIt: (cause: unknown) => boolean
  /** It writes down what became of an operation: counted among `late` from the first failure on. */
  readonly isRecord?: boolean
  /** Nobody wants the work any more once it aborts. */
  readonly signal?: AbortSignal
}

export class Patience {
  readonly #closing = new AbortController()
  readonly #log: (cause: unknown, id: string | null) => void
  #late = 0
  constructor(log: (cause: unknown, id: string | null) => void) {
    this.#log = log
  }

  /** Records that could not be written yet. */
  get late(): number {
    return this.#late
  }

  /** The server closes: what could not be done until now is done at its next start. */
  end(): void {
    this.#closing.abort()
  }

  /**
   * Tries until `work` is done. It may run many times: what it did in part must not be in its way. Throws what is not worth
   * another try, and ENGINE_CLOSED when the server closes or nobody wants it any more.
   */
  async outlast<T>(work: () => Promise<T>, { id, isWorthIt, isRecord = false, signal }: Waiting): Promise<T> {
    const over = signal ? AbortSignal.any([signal, this.#closing.signal]) : this.#closing.signal
    let isLate = false
    try {
      for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(LONGEST_PAUSE_MS, 2 * pauseMs)) {
        try {
          return await work()
        } catch (cause) {
          if (!isWorthIt(cause)) throw cause
          this.#log(cause, id)
          if (over.aborted) throw CLOSED
        }
        if (isRecord && !isLate) this.#late++
        isLate = isRecord
        await setTimeout(pauseMs, undefined, { ref: false, signal: over }).catch(() => {})
      }
    } finally {
      if (isLate) this.#late--
    }
  }
}

/** It is the database that failed, not what was asked of it: the same question may be answered later. */
export function isDatabaseTrouble(cause: unknown): boolean {
  const { code } = (cause ?? {}) as { code?: unknown }
  return isAway(cause) || (typeof code === 'string' && TROUBLE.test(code))
}

/** SQLite's: locked by another process, or its disk is full, unreadable or read-only. PostgreSQL's: out of resources. */
const TROUBLE = /^(SQLITE_(BUSY|IOERR|FULL|READONLY|CANTOPEN)|53)/
