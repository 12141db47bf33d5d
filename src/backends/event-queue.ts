// Items that one side pushes and the other iterates over, when both are ready in their own time. One consumer.

export class EventQueue<T> implements AsyncIterable<T> {
  readonly #items: T[] = []
  #end: { readonly error?: unknown } | null = null
  #wake: (() => void) | null = null

  push(item: T): void {
    this.#items.push(item)
    this.#wake?.()
  }
  /** No more items; what was pushed is still delivered. */
  end(): void {
    this.#finish({})
  }
  /** No more items, and the consumer gets `error` after those that were pushed. */
  fail(error: unknown): void {
    this.#finish({ error })
  }
  get ended(): boolean {
    return this.#end !== null
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for (;;) {
      while (this.#items.length) yield this.#items.shift() as T
      if (this.#end) break
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    if ('error' in this.#end) throw this.#end.error
  }

  #finish(end: { readonly error?: unknown }): void {
    this.#end ??= end
    this.#wake?.()
  }
}
