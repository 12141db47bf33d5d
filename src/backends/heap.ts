// A binary heap whose items know their place in it, so that one whose rank has changed is moved without a search. Knows an
// order, not what the items are.

export class Heap<T> {
  readonly #items: T[] = []
  readonly #isBefore: (a: T, b: T) => boolean
  readonly #placed: (item: T, place: number) => void

  /** `placed` is told where an item is whenever that changes; -1 = out. */
  constructor(isBefore: (a: T, b: T) => boolean, placed: (item: T, place: number) => void = () => {}) {
    this.#isBefore = isBefore
    this.#placed = placed
  }

  get size(): number {
    return this.#items.length
  }
  get first(): T | undefined {
    return this.#items[0]
  }

  push(item: T): void {
    this.#put(item, this.#items.length)
    this.moved(this.#items.length - 1)
  }

  shift(): T | undefined {
    return this.#items.length ? this.remove(0) : undefined
  }

  /** Takes out the item at a place. */
  remove(place: number): T {
    const item = this.#items[place] as T
    const last = this.#items.pop() as T
    if (place < this.#items.length) {
      this.#put(last, place)
      this.moved(place)
    }
    this.#placed(item, -1)
    return item
  }

  /** The item at this place has a new rank. */
  moved(place: number): void {
    this.#sink(this.#rise(place))
  }

  /** All items, first to last, as far as it is read; the heap must not change meanwhile. k items cost O(k log k). */
  *inOrder(): Generator<T> {
    const next = new Heap<number>((a, b) => this.#isBefore(this.#items[a] as T, this.#items[b] as T))
    if (this.#items.length) next.push(0)
    for (let place = next.shift(); place !== undefined; place = next.shift()) {
      yield this.#items[place] as T
      for (const child of [2 * place + 1, 2 * place + 2]) if (child < this.#items.length) next.push(child)
    }
  }

  #put(item: T, place: number): void {
    this.#items[place] = item
    this.#placed(item, place)
  }

  #swap(a: number, b: number): void {
    const item = this.#items[a] as T
    this.#put(this.#items[b] as T, a)
    this.#put(item, b)
  }

  #before(a: number, b: number): boolean {
    return this.#isBefore(this.#items[a] as T, this.#items[b] as T)
  }

  #rise(place: number): number {
    let at = place
    for (let parent = (at - 1) >> 1; at > 0 && this.#before(at, parent); parent = (at - 1) >> 1) {
      this.#swap(at, parent)
      at = parent
    }
    return at
  }

  #sink(place: number): void {
    let at = place
    for (;;) {
      const left = 2 * at + 1
      if (left >= this.#items.length) return
      const child = left + 1 < this.#items.length && this.#before(left + 1, left) ? left + 1 : left
      if (!this.#before(child, at)) return
      this.#swap(child, at)
      at = child
    }
  }
}
