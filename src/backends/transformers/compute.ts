// One piece of computing at a time: onnxruntime blocks the thread, so a training micro-batch and a decoding step take
// turns, first come first served. As each side asks for its next piece only after its last one, they alternate when both
// have work, and the event loop (sockets, cancellation) runs between any two pieces.

export class Compute {
  #last: Promise<unknown> = Promise.resolve()

  run<T>(piece: () => Promise<T>): Promise<T> {
    const result = this.#last.then(breathe).then(piece)
    this.#last = result.catch(() => undefined)
    return result
  }
}

const breathe = () => new Promise<void>((resolve) => setImmediate(resolve))
