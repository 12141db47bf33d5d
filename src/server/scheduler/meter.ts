// How fast something works: tokens for each millisecond in which it had anything to do, of late. Plain data; time is passed
// in, in milliseconds.

/** What lies so far back counts a third of what is new. */
const MEMORY_MS = 30_000

export class Meter {
  #running = 0
  #since = 0
  #tokens = 0
  #busyMs = 0

  begin(now: number): void {
    this.#pass(now)
    this.#running++
  }

  end(tokens: number, now: number): void {
    this.#pass(now)
    this.#running--
    this.#tokens += tokens
  }

  /** Tokens a millisecond; null when nothing is known yet. */
  get rate(): number | null {
    return this.#tokens > 0 && this.#busyMs > 0 ? this.#tokens / this.#busyMs : null
  }

  #pass(now: number): void {
    if (this.#running > 0) {
      const passed = now - this.#since
      const kept = Math.exp(-passed / MEMORY_MS)
      this.#tokens *= kept
      this.#busyMs = this.#busyMs * kept + passed
    }
    this.#since = now
  }
}
