// Who may work on what, first come first served: two operations on one adapter never overlap, those on different adapters
// do not wait for each other. Knows names only.

export interface Turn {
  /** Settles when everything that was asked for earlier, under any of the names, is over. */
  readonly ready: Promise<void>
  /** Lets the next one have `name`; also before `ready`, by one who no longer wants it. Twice does no harm. */
  over(name: string): void
  allOver(): void
}

export class Turns {
  readonly #last = new Map<string, Promise<unknown>>()

  /** Takes a place in the queue of each name, at once: two who want several names cannot wait for each other. */
  take(names: Iterable<string>): Turn {
    const release = new Map<string, () => void>()
    const earlier: Promise<unknown>[] = []
    for (const name of new Set(names)) {
      const before = this.#last.get(name) ?? Promise.resolve()
      const over = new Promise<void>((resolve) => release.set(name, resolve))
      const last = before.then(() => over)
      earlier.push(before)
      this.#last.set(name, last)
      last.then(() => {
        if (this.#last.get(name) === last) this.#last.delete(name)
      })
    }
    return {
      ready: Promise.all(earlier).then(() => {}),
      over: (name) => release.get(name)?.(),
      allOver: () => {
        for (const resolve of release.values()) resolve()
      },
    }
  }

  async run<T>(name: string, work: () => T | Promise<T>): Promise<T> {
    const turn = this.take([name])
    try {
      await turn.ready
      return await work()
    } finally {
      turn.allOver()
    }
  }
}
