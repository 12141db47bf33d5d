// Whose request is next, when each owner may have many: owners take turns, and within one owner order is kept. Plain data.

export class TurnTaking<T> {
  /** The owner whose turn is next first. */
  readonly #waiting = new Map<string, T[]>()

  push(owner: string, item: T): void {
    const items = this.#waiting.get(owner)
    if (items) items.push(item)
    else this.#waiting.set(owner, [item])
  }

  next(): T | undefined {
    for (const [owner, items] of this.#waiting) {
      const item = items.shift()
      this.#waiting.delete(owner)
      if (items.length) this.#waiting.set(owner, items)
      return item
    }
    return undefined
  }

  get size(): number {
    let size = 0
    for (const items of this.#waiting.values()) size += items.length
    return size
  }
}
