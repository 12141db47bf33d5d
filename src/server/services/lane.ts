// The way of run operations into one engine: picks the next batch, has it carried out, picks the next. It runs only while
// there is work and is woken by submissions; nothing polls. Order and fairness are in scheduler/, meaning in run-executor.ts.

import { AdapterQueue } from '../scheduler/adapter-queue.ts'
import { nextBatch, type Turns } from '../scheduler/batch.ts'
import type { RunOperation } from './run-operation.ts'

/** Tokens of training passes that go to the engine together; the engine cuts them into micro-batches. */
const BATCH_TOKENS = 8192

/** Must not throw. */
export type Carry = (batch: readonly RunOperation[]) => Promise<void>

/** `taken`: this number has had its turn. `ended`: the run takes no more operations. */
export type Pushed = 'accepted' | 'taken' | 'ended'

export class Lane {
  readonly #turns: Turns<RunOperation> = new Map()
  readonly #ended = new Set<string>()
  readonly #carry: Carry
  #isWorking = false
  #isStopped = false
  /**
   * The run whose operation is over the budget of a batch. It runs beside the others, whose micro-batches the engine takes
   * in turn with its own; one at a time.
   */
  #large: string | null = null
  #whenIdle: (() => void)[] = []

  constructor(carry: Carry) {
    this.#carry = carry
  }

  push(operation: RunOperation, seq: number): Pushed {
    if (this.#ended.has(operation.run.id)) return 'ended'
    const accepted = this.#queue(operation.run.id).push(operation, seq)
    this.#wake()
    return accepted ? 'accepted' : 'taken'
  }

  /** A request with this number was refused: later ones need not wait for it. */
  skip(run: string, seq: number): void {
    if (seq === 0 || this.#ended.has(run)) return
    this.#queue(run).skip(seq)
    this.#wake()
  }

  /** What waits for a lower number, taken out: the number will not come any more. */
  takeEarly(run: string): RunOperation[] {
    return this.#turns.get(run)?.takeEarly() ?? []
  }

  /** Ends the order of a run; gives what had not been started. */
  end(run: string): RunOperation[] {
    const queue = this.#turns.get(run)
    this.#turns.delete(run)
    this.#ended.add(run)
    return queue?.drain() ?? []
  }

  get waiting(): number {
    let count = 0
    for (const queue of this.#turns.values()) count += queue.ready.length + queue.early
    return count
  }

  /** Settles when nothing is ready or running. */
  idle(): Promise<void> {
    if (this.#isIdle()) return Promise.resolve()
    return new Promise((resolve) => this.#whenIdle.push(resolve))
  }

  /** Nothing more is carried out. Settles when what is under way has ended. */
  stop(): Promise<void> {
    this.#isStopped = true
    return this.idle()
  }

  #isIdle(): boolean {
    return !this.#isWorking && this.#large === null
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
    if (this.#isWorking) return
    this.#isWorking = true
    void this.#work()
  }

  async #work(): Promise<void> {
    // Submissions of one tick travel together.
    await Promise.resolve()
    for (let batch = this.#next(); batch.length; batch = this.#next()) {
      if (isLarge(batch[0] as RunOperation)) this.#aside(batch)
      else await this.#carry(batch)
    }
    // Nothing is awaited between the look that found nothing and this: no submission can fall in between.
    this.#isWorking = false
    this.#tellIdle()
  }

  #next(): RunOperation[] {
    if (this.#isStopped) return []
    const mayRun = (run: string, operation: RunOperation) =>
      this.#large === null || (run !== this.#large && !isLarge(operation))
    return nextBatch(this.#turns, BATCH_TOKENS, mayRun)
  }

  #aside(batch: readonly RunOperation[]): void {
    this.#large = (batch[0] as RunOperation).run.id
    void this.#carry(batch).then(() => {
      this.#large = null
      this.#wake()
    })
  }

  #tellIdle(): void {
    if (!this.#isIdle()) return
    for (const resolve of this.#whenIdle.splice(0)) resolve()
  }
}

const isLarge = ({ cost }: RunOperation) => cost > BATCH_TOKENS
