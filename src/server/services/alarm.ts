// One timer for many points in time: it stands on the earliest one that was asked for, and rings then. What is due is the
// listener's knowledge; it answers with the next time. Knows nothing of what happens at them.

/** setTimeout counts in 31 bits of milliseconds: 24.8 days. */
const LONGEST_MS = 2 ** 31 - 1

export class Alarm {
  readonly #ring: () => Promise<number | null>
  #timer: NodeJS.Timeout | undefined
  #due = Number.POSITIVE_INFINITY
  #closed = false

  /** @param ring Does what is due and gives the next time (milliseconds since 1970), or null. Must not throw. */
  constructor(ring: () => Promise<number | null>) {
    this.#ring = ring
  }

  /** Rings at this time at the latest. */
  at(time: number): void {
    if (this.#closed || time >= this.#due) return
    clearTimeout(this.#timer)
    this.#due = time
    this.#timer = setTimeout(() => void this.#wake(), Math.min(LONGEST_MS, Math.max(0, time - Date.now())))
    this.#timer.unref()
  }

  async #wake(): Promise<void> {
    const due = this.#due
    this.#due = Number.POSITIVE_INFINITY
    const next = Date.now() < due ? due : await this.#ring()
    if (next !== null) this.at(next)
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
  }
}
