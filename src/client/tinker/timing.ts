// Waiting: a sleep that can be called off, and a limit on how much is under way at once. No timer here keeps a process
// alive for its own sake.

const callbacks = new WeakMap<AbortSignal, Set<() => void>>()

/**
 * Calls back when the signal aborts; returns what calls that off. One listener a signal, however many wait for it: a caller
 * may hand one signal to a thousand samples, and Node warns of the eleventh listener.
 */
function onAbort(signal: AbortSignal, callback: () => void): () => void {
  const known = callbacks.get(signal)
  const waiting = known ?? new Set()
  waiting.add(callback)
  if (!known) {
    callbacks.set(signal, waiting)
    signal.addEventListener('abort', () => [...waiting].forEach((each) => void each()), { once: true })
  }
  return () => waiting.delete(callback)
}

/** Rejects with the signal's reason when it aborts. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    let callOff = () => {}
    const timer = setTimeout(() => {
      callOff()
      resolve()
    }, ms)
    if (!signal) return
    callOff = onAbort(signal, () => {
      clearTimeout(timer)
      reject(signal.reason)
    })
  })
}

/** Settles as the promise does, or rejects when the signal aborts first; the promise itself goes on. */
export function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason)
    const callOff = onAbort(signal, abort)
    promise.then(resolve, reject).finally(callOff)
    if (signal.aborted) abort()
  })
}

/** Lets through as much weight at once as it has capacity for, in the order of asking. */
export class Gate {
  readonly #capacity: number
  #used = 0
  readonly #waiting: { weight: number; enter: () => void }[] = []

  constructor(capacity: number) {
    this.#capacity = capacity
  }

  /** Runs `work` once there is room. What weighs more than the whole capacity goes alone. */
  async pass<T>(weight: number, work: () => Promise<T>): Promise<T> {
    const share = Math.min(weight, this.#capacity)
    if (this.#waiting.length > 0 || this.#used + share > this.#capacity) {
      await new Promise<void>((enter) => this.#waiting.push({ weight: share, enter }))
    } else {
      this.#used += share
    }
    try {
      return await work()
    } finally {
      this.#used -= share
      this.#admit()
    }
  }

  #admit(): void {
    for (let next = this.#waiting[0]; next && this.#used + next.weight <= this.#capacity; next = this.#waiting[0]) {
      this.#waiting.shift()
      this.#used += next.weight
      next.enter()
    }
  }
}

/** Does something again and again, until the function returned is called. */
export function repeat(ms: number, work: () => unknown): () => void {
  const timer = setInterval(work, ms)
  // In Node a timer keeps the process alive unless it is told not to; in a browser it is a number.
  if (typeof timer === 'object') timer.unref()
  return () => clearInterval(timer)
}
