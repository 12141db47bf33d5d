// One piece of computing at a time: onnxruntime blocks the thread, so training micro-batches and decoding steps take turns,
// and the event loop (sockets, cancellation) runs between any two pieces. Each kind of work has a lane; lanes with work
// alternate, whatever the length of their queues, so that ten training calls leave sampling half of the turns.

type Piece = () => Promise<void>

export class Compute {
  readonly #lane: Piece[] = []
  readonly #rotation: Rotation

  constructor(rotation = new Rotation()) {
    this.#rotation = rotation
  }

  /** Another lane of the same thread. */
  lane(): Compute {
    return new Compute(this.#rotation)
  }

  run<T>(piece: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#lane.push(() => Promise.resolve().then(piece).then(resolve, reject))
      this.#rotation.wants(this.#lane)
    })
  }
}

/** Lanes that have work, the next one first. */
class Rotation {
  readonly #lanes: Piece[][] = []
  #busy = false

  wants(lane: Piece[]): void {
    if (!this.#lanes.includes(lane)) this.#lanes.push(lane)
    if (!this.#busy) this.#work()
  }

  async #work(): Promise<void> {
    this.#busy = true
    while (this.#lanes.length) {
      await breathe()
      const lane = this.#lanes.shift() as Piece[]
      const piece = lane.shift() as Piece
      if (lane.length) this.#lanes.push(lane)
      await piece()
    }
    this.#busy = false
  }
}

const breathe = () => new Promise<void>((resolve) => setImmediate(resolve))
