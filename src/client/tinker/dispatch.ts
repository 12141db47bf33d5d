// How many samples may be on their way to the server at once, for all samplers of a session together: by count and by size of
// prompts, and far fewer for a while after the server has said that there are too many.

import { Gate, sleep } from './timing.ts'

const MOST = 400
const MOST_AFTER_BACKOFF = 10
const SIZE_FACTOR_AFTER_BACKOFF = 20
const BACKOFF_REMEMBERED_MS = 10_000
/** Prompts above this count as large when the server asks for less. */
const LARGE_BYTES = 128 * 1024
const PAUSE_MS = 1000
const LONG_PAUSE_MS = 5000

export class SampleDispatch {
  readonly #count = new Gate(MOST)
  readonly #throttled = new Gate(MOST_AFTER_BACKOFF)
  readonly #bytes: Gate
  #resumesAt = Number.NEGATIVE_INFINITY

  constructor(bytes: number) {
    this.#bytes = new Gate(bytes)
  }

  /** Runs the dispatch of a prompt of so many bytes, once there is room for it. */
  pass<T>(bytes: number, dispatch: () => Promise<T>): Promise<T> {
    return this.#count.pass(1, () => {
      const weight = this.#wasRefusedLately ? bytes * SIZE_FACTOR_AFTER_BACKOFF : bytes
      const sized = () => this.#bytes.pass(weight, dispatch)
      return this.#wasRefusedLately ? this.#throttled.pass(1, sized) : sized()
    })
  }

  /** The server refused one of this size: all wait. */
  backOff(bytes: number): void {
    const pause = bytes <= LARGE_BYTES ? PAUSE_MS : LONG_PAUSE_MS
    this.#resumesAt = Math.max(this.#resumesAt, Date.now() + pause)
  }

  /** Waits until a pause is over. */
  async resumed(signal?: AbortSignal): Promise<void> {
    for (let left = this.#resumesAt - Date.now(); left > 0; left = this.#resumesAt - Date.now()) {
      await sleep(left, signal)
    }
  }

  get #wasRefusedLately(): boolean {
    return Date.now() - this.#resumesAt < BACKOFF_REMEMBERED_MS
  }
}
