// How long work becomes many short turns. Each job is a generator that yields what a turn has cost, in tokens; between turns
// the process answers others, and the next turn goes to whoever has had least for its weight. Knows nothing of training.

import { cancelled, FairQueue } from 'twinkle-ts/backends'

/** @typedef {import('twinkle-ts/backends').Share} Share */

/** Lets whatever else waits in this process go first. */
export const breathe = () => new Promise((resolve) => setImmediate(resolve))

export class TurnTaking {
  /** @type {FairQueue<any>} */
  #queue = new FairQueue()
  #isRunning = false
  /** @type {Error | null} */
  #end = null

  /**
   * Runs a job to its end; jobs of one flow run in order.
   * @template T
   * @param {Generator<number, T>} steps
   * @param {{ what: string, flow: string, share: Share, signal: AbortSignal }} whose
   * @returns {Promise<T>}
   */
  run(steps, { what, flow, share, signal }) {
    return new Promise((resolve, reject) => {
      this.#queue.push({ steps, what, signal, resolve, reject }, share, flow)
      if (!this.#isRunning) this.#loop()
    })
  }

  /** Every job, now and later, fails with this. @param {Error} error */
  end(error) {
    this.#end = error
  }

  async #loop() {
    this.#isRunning = true
    while (this.#queue.size > 0) {
      await breathe()
      const [job] = this.#queue.inOrder()
      this.#turn(job)
    }
    this.#isRunning = false
  }

  /** @param {any} job */
  #turn(job) {
    try {
      if (this.#end) throw this.#end
      if (job.signal.aborted) throw cancelled(job.what)
      const { done, value } = job.steps.next()
      if (!done) {
        this.#queue.charge(job, value)
        return
      }
      job.resolve(value)
    } catch (error) {
      job.reject(error)
    }
    this.#queue.remove(job)
  }
}
