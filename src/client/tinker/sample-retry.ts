// A sample that was lost can simply be drawn again: repeats it until there is one, unless nothing at all has come back for so
// long that the requests must be stuck. One for each sampling client; it limits how many are under way, too.

import { ConnectionError, StatusError } from './errors.ts'
import { isRetryable } from './retry.ts'
import { Gate, sleep, unlessAborted } from './timing.ts'

export interface RetryOptions {
  /** Default true; the server may switch it off for `sample`. */
  readonly isEnabled?: boolean
  /** Fails when no sample of this client has come back for so long; 2 hours. */
  readonly progressTimeoutMs?: number
  /** Before the first repetition; 500. Doubles with each. */
  readonly delayBaseMs?: number
  /** 10 000 */
  readonly delayMaxMs?: number
  /** Share of the delay that is drawn at random; 0.25. */
  readonly jitter?: number
}

/** What the server's flags say of it. */
export interface RetryLimits {
  readonly detectsStuck: boolean
  /** Null: as many as there are. */
  readonly mostAtOnce: number | null
}

const TWO_HOURS_MS = 7_200_000

export class SampleRetry {
  readonly #options: Required<RetryOptions>
  readonly #limits: RetryLimits
  readonly #gate: Gate | null
  #lastProgress = Date.now()
  #underWay = 0

  constructor(options: RetryOptions, limits: RetryLimits) {
    this.#options = {
      isEnabled: options.isEnabled ?? true,
      progressTimeoutMs: options.progressTimeoutMs ?? TWO_HOURS_MS,
      delayBaseMs: options.delayBaseMs ?? 500,
      delayMaxMs: options.delayMaxMs ?? 10_000,
      jitter: options.jitter ?? 0.25,
    }
    this.#limits = limits
    this.#gate = limits.mostAtOnce === null ? null : new Gate(limits.mostAtOnce)
  }

  /** `draw` gets a signal that ends it when the caller's does, or when all is stuck. */
  run<T>(draw: (signal: AbortSignal) => Promise<T>, signal?: AbortSignal): Promise<T> {
    const work = () => this.#guarded(draw, signal)
    return this.#gate ? this.#gate.pass(1, work) : work()
  }

  async #guarded<T>(draw: (signal: AbortSignal) => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    if (this.#underWay++ === 0) this.#lastProgress = Date.now()
    const stuck = new AbortController()
    const either = signal ? AbortSignal.any([signal, stuck.signal]) : stuck.signal
    const stop = this.#limits.detectsStuck ? this.#watch(stuck) : () => {}
    try {
      const sample = await unlessAborted(this.#repeated(draw, either), either)
      this.#lastProgress = Date.now()
      return sample
    } finally {
      stop()
      this.#underWay--
    }
  }

  async #repeated<T>(draw: (signal: AbortSignal) => Promise<T>, signal: AbortSignal): Promise<T> {
    for (let failure = 0; ; failure++) {
      try {
        return await draw(signal)
      } catch (error) {
        const { isEnabled } = this.#options
        if (signal.aborted || !isEnabled || !canBeDrawnAgain(error)) throw error
        await sleep(this.#delay(failure), signal)
      }
    }
  }

  #delay(failure: number): number {
    const { delayBaseMs, delayMaxMs, jitter } = this.#options
    return Math.min(delayBaseMs * 2 ** failure, delayMaxMs) * (1 - jitter * Math.random())
  }

  /** Looks again when the time would be over. */
  #watch(stuck: AbortController): () => void {
    const { progressTimeoutMs } = this.#options
    let timer: ReturnType<typeof setTimeout>
    const look = () => {
      const left = this.#lastProgress + progressTimeoutMs - Date.now()
      if (left > 0) timer = setTimeout(look, left)
      else
        stuck.abort(
          new ConnectionError(`No sample came back in ${progressTimeoutMs / 1000} s: requests appear to be stuck.`),
        )
    }
    look()
    return () => clearTimeout(timer)
  }
}

/** 410: the server has lost this request, for instance by a restart. */
function canBeDrawnAgain(error: unknown): boolean {
  return isRetryable(error) || (error instanceof StatusError && error.status === 410)
}
