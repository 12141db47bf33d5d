// The adapters that an engine has now, and which one goes when another needs its place: the one whose last use is longest
// ago, of those that nobody uses; rather one without a gradient, which a file on disk cannot hold. Plain data: live-adapters.ts
// moves the adapters.

export interface RoomSize {
  /** Adapters at a time. */
  readonly adapters: number
  /** Memory of them. */
  readonly bytes: number
}

export interface LiveAdapter {
  readonly run: string
  /** 0 until it is known. */
  bytes: number
  /** Somebody works with it, or it is being moved. */
  isInUse: boolean
  hasGradient: boolean
  /** The last operation that changed it since its restart point; null = it is as the restart point has it. */
  changedBy: string | null
}

export class AdapterRoom {
  readonly #size: RoomSize
  /** The least recently used first. */
  readonly #live = new Map<string, LiveAdapter>()
  #bytes = 0
  #whenChanged: (() => void)[] = []
  constructor(size: RoomSize) {
    this.#size = size
  }

  get isFull(): boolean {
    return this.#live.size >= this.#size.adapters || (this.#live.size > 0 && this.#bytes >= this.#size.bytes)
  }
  /** More than fits, since the bytes of an adapter are known only when it is there. */
  get isOver(): boolean {
    return this.#live.size > this.#size.adapters || (this.#live.size > 1 && this.#bytes > this.#size.bytes)
  }
  get isAnyInUse(): boolean {
    return [...this.#live.values()].some(({ isInUse }) => isInUse)
  }

  get(run: string): LiveAdapter | undefined {
    return this.#live.get(run)
  }

  /** Takes a place for an adapter that is being brought. */
  enter(run: string): LiveAdapter {
    const live: LiveAdapter = { run, bytes: 0, isInUse: true, hasGradient: false, changedBy: null }
    this.#live.set(run, live)
    return live
  }

  weigh(live: LiveAdapter, bytes: number): void {
    this.#bytes += bytes - live.bytes
    live.bytes = bytes
  }

  use(live: LiveAdapter): void {
    live.isInUse = true
    this.#live.delete(live.run)
    this.#live.set(live.run, live)
  }

  letGo(live: LiveAdapter): void {
    live.isInUse = false
    this.#tell()
  }

  leave(live: LiveAdapter): void {
    this.withdraw(live)
    this.#tell()
  }

  /** Gives up a place that could not be filled: no reason for those who wait to try again. */
  withdraw(live: LiveAdapter): void {
    if (this.#live.delete(live.run)) this.#bytes -= live.bytes
  }

  /** Who goes next; null while all are in use. */
  next(): LiveAdapter | null {
    let withGradient: LiveAdapter | null = null
    for (const live of this.#live.values()) {
      if (live.isInUse) continue
      if (!live.hasGradient) return live
      withGradient ??= live
    }
    return withGradient
  }

  /** Settles when a place or an adapter is free that was not. */
  changed(): Promise<void> {
    return new Promise((resolve) => this.#whenChanged.push(resolve))
  }

  #tell(): void {
    for (const resolve of this.#whenChanged.splice(0)) resolve()
  }
}
