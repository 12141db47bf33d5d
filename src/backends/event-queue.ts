// Events from one producer to one consumer that iterates: what is not consumed yet waits here. Knows nothing of the events.

export class EventQueue<T> implements AsyncIterableIterator<T> {
  readonly #events: T[] = []
  #end: { error?: unknown } | null = null
  #wake: (() => void) | null = null
  readonly #onEnd: () => void

  /** `onEnd` is called once when it is over: ended, failed, or the consumer stopped. */
  constructor(onEnd: () => void = () => undefined) {
    this.#onEnd = onEnd
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
    this.#finish({})
  }

  /** Events pushed before are still delivered. */
  fail(error: unknown): void {
    this.#finish({ error })
  }

  #finish(end: { error?: unknown }): void {
    if (this.#end) return
    this.#end = end
    this.#wake?.()
    this.#onEnd()
  }

  async next(): Promise<IteratorResult<T>> {
    while (true) {
      const event = this.#events.shift()
      if (event !== undefined) return { done: false, value: event }
      if (this.#end) {
        const { error } = this.#end
        delete this.#end.error
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
    this.#finish({})
    this.#events.length = 0
    return { done: true, value: undefined }
  }

  [Symbol.asyncIterator](): this {
    return this
  }
}
