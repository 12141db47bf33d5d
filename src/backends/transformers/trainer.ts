// Training on one base model: computes operations of any adapters and calls in packed micro-batches and hands out each
// result when its last datum is done. What goes into a micro-batch is decided when its time has come, so that a small
// operation waits for no more than the one that runs. Numbers that are not finite stay with the adapter that made them.
// Knows operations, shares and batches; knows nothing of tenants, files or processes.

import { cpus, totalmem } from 'node:os'
import { arch, constrainedMemory } from 'node:process'
import type { Outcome, TrainingItem, TrainingResult } from '../backend.ts'
import { cancelled, engineError, toFailure } from '../engine-errors.ts'
import { EventQueue } from '../event-queue.ts'
import { FairQueue } from '../fair-queue.ts'
import type { Adapter } from './adapter.ts'
import { INIT_VERSION } from './adapter-init.ts'
import { PROJECTIONS } from './adapter-layout.ts'
import { type Batch, datumsOf, type Part, packBatch } from './batch.ts'
import type { Compute } from './compute.ts'
import { Executor, type TrainableModel } from './executor.ts'
import { estimateBytes } from './memory.ts'
import { Operation } from './operation.ts'
import { allFinite } from './optimizer.ts'
import { type BatchSize, type Budget, nextBatch } from './plan.ts'
import { RUNTIME } from './runner.ts'
import type { GraphKey } from './training-graph.ts'
import type { Floats } from './training-stacks.ts'
import type { Weights } from './weights.ts'

export interface TrainerOptions {
  readonly threads: number
  readonly compute: Compute
  /** How many sessions are kept. */
  readonly cache?: number
  readonly budget?: Partial<Budget>
  /** The graph that must have run before the trainer is ready; others are made when they are needed, or by `warm`. */
  readonly first?: GraphKey
}

export interface TrainingWork {
  readonly item: TrainingItem
  readonly adapter: Adapter
}

type Attempt = { readonly outputs: Readonly<Record<string, Floats>> } | { readonly error: unknown }

/** A call of `train` under way. */
interface Call {
  /** Operations that are not done. */
  open: number
  readonly outcomes: EventQueue<Outcome<TrainingResult>>
}

const SESSIONS = 6
const BUDGET = { tokens: 1024, columns: 128 }
/** Share of the memory of this machine or container that one run may take. */
const MEMORY_SHARE = 0.5

export class Trainer {
  /** What decides the bits of a result besides an operation and its plan. */
  readonly runtime: string
  readonly #executor: Executor
  readonly #compute: Compute
  readonly #budget: Budget
  readonly #estimate: (size: BatchSize) => number
  /** What is not done, of all calls. */
  readonly #queue = new FairQueue<Operation>()
  readonly #calls = new Map<Operation, Call>()
  #isWorking = false

  private constructor(model: TrainableModel, weights: Weights, options: TrainerOptions) {
    const { threads, compute, cache = SESSIONS, budget } = options
    this.#executor = new Executor(model, weights, { threads, sessions: cache })
    this.#compute = compute
    this.#budget = { ...BUDGET, bytes: MEMORY_SHARE * availableMemory(), ...budget }
    this.#estimate = (size) => estimateBytes(model, size)
    const cpu = cpus()[0]?.model.trim() ?? arch
    this.runtime = `${RUNTIME}, ${cpu}, threads ${threads}, init ${INIT_VERSION}`
  }

  /** Ready when a first run has been made: one token, with every projection adapted unless `first` says otherwise. */
  static async create(model: TrainableModel, weights: Weights, options: TrainerOptions): Promise<Trainer> {
    const trainer = new Trainer(model, weights, options)
    await trainer.warm(options.first ?? { projections: PROJECTIONS, backward: false })
    return trainer
  }

  /** Makes the session of a graph and runs it once, so that the first operation does not wait for that. */
  async warm(key: GraphKey): Promise<void> {
    await this.#compute.run(() => this.#executor.warm(key))
  }

  /**
   * Outcomes come as operations are done. Gradients of backward items are added to their adapters, for one adapter in the
   * order of its items. Parties, then adapters of one party, take turns by micro-batches: see `Share`. Aborting, between
   * two micro-batches, ends what is not done as CANCELLED; leaving the iteration drops it.
   */
  train(work: readonly TrainingWork[], signal?: AbortSignal): AsyncIterableIterator<Outcome<TrainingResult>> {
    const operations = work.map(({ item, adapter }) => new Operation(item, adapter, this.runtime))
    const abort = () => {
      for (const operation of operations) operation.fail(cancelled(`operation ${operation.id}`))
      this.#settle(operations)
    }
    const call: Call = {
      open: operations.length,
      outcomes: new EventQueue(() => {
        signal?.removeEventListener('abort', abort)
        for (const operation of operations) this.#remove(operation)
      }),
    }
    for (const operation of operations) {
      operation.check(this.#executor.limits)
      this.#calls.set(operation, call)
      this.#queue.push(operation, operation.share, operation.adapter)
    }
    if (signal?.aborted) abort()
    signal?.addEventListener('abort', abort, { once: true })
    this.#settle(operations)
    if (operations.length === 0) call.outcomes.end()
    void this.#work()
    return call.outcomes
  }

  /** Hands out those that are done. One of a micro-batch that runs goes as well: what it still gets is thrown away. */
  #settle(operations: readonly Operation[]): void {
    for (const operation of operations) {
      const call = this.#calls.get(operation)
      if (!call || !operation.isDone) continue
      this.#remove(operation)
      call.outcomes.push(operation.finish())
      if (--call.open === 0) call.outcomes.end()
    }
  }

  #remove(operation: Operation): void {
    this.#queue.remove(operation)
    this.#calls.delete(operation)
  }

  /** Runs while there is anything to compute. */
  async #work(): Promise<void> {
    if (this.#isWorking) return
    this.#isWorking = true
    while (this.#queue.size) {
      try {
        await this.#advance()
      } catch (error) {
        for (const operation of this.#queue.inOrder()) operation.fail(toFailure(error))
        this.#settle([...this.#queue.inOrder()])
      }
    }
    this.#isWorking = false
  }

  async close(): Promise<void> {
    await this.#compute.run(() => this.#executor.close())
  }

  /**
   * Computes the next micro-batch. When it fails, or anything in it is not finite (0 times infinity is NaN, so then all of
   * it is in doubt), its operations are computed once more, each by itself: one's trouble is never its neighbours'.
   */
  async #advance(): Promise<void> {
    const run = await this.#compute.run(async () => {
      const batch = this.#plan()
      return batch && { batch, attempt: await this.#attempt(batch) }
    })
    if (!run) return
    const { batch, attempt } = run
    if (batch.parts.length === 1 || isSound(attempt)) this.#conclude(batch, attempt)
    else {
      for (const { work, place } of batch.parts) {
        const lone = packBatch([{ work, ...place }], work.backward, work.head)
        this.#conclude(lone, await this.#compute.run(() => this.#attempt(lone)))
      }
    }
    this.#settle(batch.parts.map((part) => part.work))
  }

  /** What is computed next; whoever is in it is charged for it. Null when nobody wants anything any more. */
  #plan(): Batch<Operation> | null {
    const [leader] = this.#queue.inOrder()
    if (!leader) return null
    const batch = leader.replayed() ?? nextBatch(this.#queue.inOrder(), this.#budget, this.#estimate)
    for (const part of batch.parts) this.#queue.charge(part.work, this.#costOf(part))
    return batch
  }

  /** In tokens. Adapter columns run out as tokens do, so that a high rank costs as many as it keeps others from. */
  #costOf(part: Part<Operation>): number {
    const tokens = datumsOf(part).reduce((sum, datum) => sum + datum.tokens.length, 0)
    return Math.max(tokens, (part.work.weights.layout.rank * this.#budget.tokens) / this.#budget.columns)
  }

  async #attempt(batch: Batch<Operation>): Promise<Attempt> {
    try {
      this.#checkMemory(batch)
      return { outputs: await this.#executor.run(batch) }
    } catch (error) {
      return { error }
    }
  }

  /** In a batch of one operation, what went wrong is its own fault. */
  #conclude(batch: Batch<Operation>, attempt: Attempt): void {
    for (const part of batch.parts) {
      const { work, place } = part
      if ('error' in attempt) work.fail(toFailure(attempt.error))
      else if (isSound(attempt)) work.take(batch, part, attempt.outputs)
      else work.poison(place.first, place.count)
    }
  }

  /** The planner splits what is too big for memory; a lone sequence cannot be split. */
  #checkMemory({ shape, parts }: Batch<Operation>): void {
    const [part] = parts
    if (part?.place.count !== 1) return
    const { tokens, columns, width, backward, head, span } = shape
    const needed = this.#estimate({ tokens, longest: span, columns, width, backward, ...(head && { head }) })
    if (needed <= this.#budget.bytes) return
    throw engineError(
      'OUT_OF_MEMORY',
      `datum ${part.place.first} of operation ${part.work.id}: a sequence of ${tokens} tokens with ${columns} adapter ` +
        `columns needs about ${mebibytes(needed)} MiB, the engine may use ${mebibytes(this.#budget.bytes)} MiB; ` +
        'send shorter sequences or use a lower rank',
    )
  }
}

const isSound = (attempt: Attempt) => 'outputs' in attempt && Object.values(attempt.outputs).every((x) => allFinite(x))
const mebibytes = (bytes: number) => Math.ceil(bytes / 2 ** 20)

function availableMemory(): number {
  const limit = constrainedMemory()
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem()
}
