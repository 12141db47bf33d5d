// One who waits for something to become true. It watches first and looks then, so that what happens in between wakes it.
// Knows nothing of what it waits for.

export class Watch {
  #isWoken = false
  #end: (() => void) | null = null

  /** Ends a sleep, or the next one if nobody sleeps. */
  wake(): void {
    this.#isWoken = true
    this.#end?.()
  }

  /** True when it was woken; false after `ms`, or when `signal` aborts. */
  async sleep(ms: number, signal: AbortSignal): Promise<boolean> {
    if (!this.#isWoken && !signal.aborted && ms > 0) await this.#slept(ms, signal)
    const isWoken = this.#isWoken
    this.#isWoken = false
    return isWoken
  }

  #slept(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer)
        signal.removeEventListener('abort', end)
        this.#end = null
        resolve()
      }
      const timer = setTimeout(end, ms)
      signal.addEventListener('abort', end)
      this.#end = end
    })
  }
}
