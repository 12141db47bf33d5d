// The order of one adapter's operations. Sequence numbers start at 1 and may arrive in any order; a number that was
// refused counts as done; operations without a number go behind what is ready when they come. Plain data: no engine, no
// clock, no promises.

export class AdapterQueue<T> {
  #next = 1
  readonly #early = new Map<number, T>()
  readonly #skipped = new Set<number>()
  readonly #ready: T[] = []

  /** Returns false when the number has had its turn already. */
  push(operation: T, seq: number): boolean {
    if (seq === 0) {
      this.#ready.push(operation)
      return true
    }
    if (seq < this.#next || this.#early.has(seq)) return false
    this.#early.set(seq, operation)
    this.#advance()
    return true
  }

  /** Marks a number as done whose request was refused. */
  skip(seq: number): void {
    if (seq < this.#next) return
    this.#skipped.add(seq)
    this.#advance()
  }

  /** All numbers up to this one have had their turn. Before anything is pushed. */
  begin(after: number): void {
    this.#next = Math.max(this.#next, after + 1)
    this.#advance()
  }

  #advance(): void {
    for (;;) {
      const operation = this.#early.get(this.#next)
      if (operation !== undefined) {
        this.#early.delete(this.#next)
        this.#ready.push(operation)
      } else if (!this.#skipped.delete(this.#next)) return
      this.#next++
    }
  }

  /** Operations whose turn it is, in order. */
  get ready(): readonly T[] {
    return this.#ready
  }
  /** How many wait for a lower number to arrive. */
  get early(): number {
    return this.#early.size
  }
  /** The number that those who came too early wait for; null when nobody does. */
  get missing(): number | null {
    return this.#early.size ? this.#next : null
  }
  /** Those who came too early, in the order of their numbers. */
  get waitingEarly(): T[] {
    return [...this.#early.entries()].sort(([a], [b]) => a - b).map(([, operation]) => operation)
  }
  take(count: number): T[] {
    return this.#ready.splice(0, count)
  }
  /** Removes what waits for a lower number that has not come. */
  takeEarly(): T[] {
    const early = this.waitingEarly
    this.#early.clear()
    return early
  }
  /** Removes everything. */
  drain(): T[] {
    return [...this.#ready.splice(0), ...this.takeEarly()]
  }
}
