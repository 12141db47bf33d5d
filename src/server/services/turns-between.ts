// Work in the server's own thread that takes long: it is done in slices of a few milliseconds, and between any two slices of
// whatever work the event loop serves everybody else. Knows nothing of what is done.

const SLICE_MS = 4

export class TurnsBetween {
  /** Slices of different work stand in line, so that ten jobs are not ten slices at a stretch. */
  #line: Promise<void> = Promise.resolve()

  /** Gives the function that one job calls between pieces of its work. */
  job(): () => Promise<void> | undefined {
    let end = 0
    return () => {
      if (performance.now() < end) return
      this.#line = this.#line.then(afterOthers)
      return this.#line.then(() => {
        end = performance.now() + SLICE_MS
      })
    }
  }
}

/** Whatever waits for the event loop goes first. */
const afterOthers = () => new Promise<void>((resolve) => setImmediate(resolve))
