// One thing that many want and one may have at a time, in the order in which they asked. Whoever has it works without a
// pause as long as libsql does, so the next one gets it in the same turn of the event loop: a thousand in a row would hold the
// loop until the last of them is done. After a slice of time the loop turns once before the next one.

const SLICE_MS = 5

export class Turns {
  readonly #sliceMs: number
  readonly #waiting: (() => void)[] = []
  #isTaken = false
  /** When the loop was given back last. */
  #since = performance.now()

  constructor(sliceMs = SLICE_MS) {
    this.#sliceMs = sliceMs
  }

  /** Settles when it is the caller's turn, which lasts until it calls `pass`. */
  async take(): Promise<void> {
    if (this.#isTaken) return new Promise((resolve) => this.#waiting.push(resolve))
    this.#isTaken = true
  }

  pass(): void {
    const next = this.#waiting.shift()
    if (!next) this.#isTaken = false
    else if (performance.now() - this.#since < this.#sliceMs) next()
    else {
      setImmediate(() => {
        this.#since = performance.now()
        next()
      })
    }
  }
}
