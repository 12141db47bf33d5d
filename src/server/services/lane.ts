// The way of run operations into one engine: picks the next batch, has it carried out, picks the next. It runs only while
// there is work and is woken by submissions; nothing polls. Order and fairness are in scheduler/, meaning in run-executor.ts.

import { AdapterQueue } from '../scheduler/adapter-queue.ts'
import { nextBatch, type Turns } from '../scheduler/batch.ts'
import type { RunOperation } from './run-operation.ts'

/** Tokens of training passes that go to the engine together; the engine cuts them into micro-batches. */
const BATCH_TOKENS = 8192

export type Carry = (batch: readonly RunOperation[]) => Promise<void>

export class Lane {
  readonly #turns: Turns<RunOperation> = new Map()
  readonly #carry: Carry
  #running: Promise<void> | null = null

  constructor(carry: Carry) {
    this.#carry = carry
  }

  /** Returns false when this sequence number has had its turn already. */
  push(operation: RunOperation, seq: number): boolean {
    const accepted = this.#queue(operation.run.id).push(operation, seq)
    this.#wake()
    return accepted
  }

  /** A request with this number was refused: later ones need not wait for it. */
  skip(run: string, seq: number): void {
    if (seq > 0) this.#queue(run).skip(seq)
    this.#wake()
  }

  /** Ends the order of a run; gives what had not been started. */
  drop(run: string): RunOperation[] {
    const queue = this.#turns.get(run)
    this.#turns.delete(run)
    return queue?.drain() ?? []
  }

  get waiting(): number {
    let count = 0
    for (const queue of this.#turns.values()) count += queue.ready.length + queue.early
    return count
  }

  /** Settles when nothing is ready or running. */
  async idle(): Promise<void> {
    await this.#running
  }

  #queue(run: string): AdapterQueue<RunOperation> {
    let queue = this.#turns.get(run)
    if (!queue) {
      queue = new AdapterQueue()
      this.#turns.set(run, queue)
    }
    return queue
  }

  #wake(): void {
    this.#running ??= this.#work().finally(() => {
      this.#running = null
    })
  }

  async #work(): Promise<void> {
    // Submissions of one tick travel together.
    await Promise.resolve()
    for (;;) {
      const batch = nextBatch(this.#turns, BATCH_TOKENS)
      if (!batch.length) return
      await this.#carry(batch)
    }
  }
}
