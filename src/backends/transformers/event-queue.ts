// Events from one producer to one consumer that iterates: what is not consumed yet waits here. Knows nothing of the events.

export class EventQueue<T> implements AsyncIterableIterator<T> {
  readonly #events: T[] = []
  #end: { readonly error?: unknown } | null = null
  #wake: (() => void) | null = null
  readonly #onReturn: () => void

  /** `onReturn` is called when the consumer stops before the end. */
  constructor(onReturn: () => void) {
    this.#onReturn = onReturn
  }

  get ended(): boolean {
    return this.#end !== null
  }

  push(event: T): void {
    if (this.#end) return
    this.#events.push(event)
    this.#wake?.()
  }

  end(): void {
    this.#end ??= {}
    this.#wake?.()
  }

  /** Events pushed before are still delivered. */
  fail(error: unknown): void {
    this.#end ??= { error }
    this.#wake?.()
  }

  async next(): Promise<IteratorResult<T>> {
    while (true) {
      const event = this.#events.shift()
      if (event !== undefined) return { done: false, value: event }
      if (this.#end) {
        const { error } = this.#end
        this.#end = {}
        if (error !== undefined) throw error
        return { done: true, value: undefined }
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
      this.#wake = null
    }
  }

  async return(): Promise<IteratorResult<T>> {
    if (!this.#end) this.#onReturn()
    this.#end = {}
    this.#events.length = 0
    return { done: true, value: undefined }
  }

  [Symbol.asyncIterator](): this {
    return this
  }
}
