// Training on one base model: computes operations of any adapters in packed micro-batches and hands out each result when
// its last datum is done. Numbers that are not finite stay with the adapter that made them. Knows operations and batches;
// knows nothing of tenants, files or processes.

import { cpus, totalmem } from 'node:os'
import { arch, constrainedMemory } from 'node:process'
import type { Outcome, TrainingItem, TrainingResult } from '../backend.ts'
import { cancelled, engineError, toFailure } from '../engine-errors.ts'
import type { Adapter } from './adapter.ts'
import { INIT_VERSION } from './adapter-init.ts'
import { PROJECTIONS } from './adapter-layout.ts'
import { type Batch, type Part, packBatch } from './batch.ts'
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
   * order of its items. Aborting, between two micro-batches, ends what is not done as CANCELLED.
   */
  async *train(work: readonly TrainingWork[], signal?: AbortSignal): AsyncGenerator<Outcome<TrainingResult>> {
    let open = work.map(({ item, adapter }) => new Operation(item, adapter, this.runtime))
    for (const operation of open) operation.check(this.#executor.limits)
    for (;;) {
      const done = inAdapterOrder(open)
      for (const operation of done) yield operation.finish()
      open = open.filter((operation) => !done.includes(operation))
      if (open.length === 0) return
      if (signal?.aborted) for (const o of open) o.fail(cancelled(`operation ${o.id}`))
      else await this.#advance(open.filter((operation) => !operation.isDone))
    }
  }

  async close(): Promise<void> {
    await this.#compute.run(() => this.#executor.close())
  }

  /**
   * Computes the next micro-batch. When it fails, or anything in it is not finite (0 times infinity is NaN, so then all of
   * it is in doubt), its operations are computed once more, each by itself: one's trouble is never its neighbours'.
   */
  async #advance(open: readonly Operation[]): Promise<void> {
    const [leader] = open as [Operation]
    const batch = leader.replayed() ?? nextBatch(open, this.#budget, this.#estimate)
    if (batch.parts.length === 1) return this.#alone(batch)
    const outputs = await this.#run(batch).catch(() => null)
    if (outputs && isAllFinite(outputs)) for (const part of batch.parts) part.work.take(batch, part, outputs)
    else for (const { work, place } of batch.parts) await this.#alone(packBatch([{ work, ...place }], work.backward))
  }

  /** A batch of one operation: what goes wrong is its own fault. */
  async #alone(batch: Batch<Operation>): Promise<void> {
    const [part] = batch.parts as [Part<Operation>]
    const { work, place } = part
    try {
      this.#checkMemory(batch)
      const outputs = await this.#run(batch)
      if (isAllFinite(outputs)) work.take(batch, part, outputs)
      else work.poison(place.first, place.count)
    } catch (error) {
      work.fail(toFailure(error))
    }
  }

  #run(batch: Batch<Operation>): Promise<Record<string, Floats>> {
    return this.#compute.run(() => this.#executor.run(batch))
  }

  /** The planner splits what is too big for memory; a lone sequence cannot be split. */
  #checkMemory({ shape, parts }: Batch<Operation>): void {
    const [part] = parts
    if (part?.place.count !== 1) return
    const { tokens, columns, width, backward, span } = shape
    const needed = this.#estimate({ tokens, longest: span, columns, width, backward })
    if (needed <= this.#budget.bytes) return
    throw engineError(
      'OUT_OF_MEMORY',
      `datum ${part.place.first} of operation ${part.work.id}: a sequence of ${tokens} tokens with ${columns} adapter ` +
        `columns needs about ${mebibytes(needed)} MiB, the engine may use ${mebibytes(this.#budget.bytes)} MiB; ` +
        'send shorter sequences or use a lower rank',
    )
  }
}

/** Those that are done and have nothing of the same adapter before them: gradients are added in the order of the items. */
function inAdapterOrder(open: readonly Operation[]): Operation[] {
  const busy = new Set<Adapter>()
  return open.filter((operation) => {
    if (!operation.isDone) busy.add(operation.weights)
    return !busy.has(operation.weights)
  })
}

const isAllFinite = (outputs: Readonly<Record<string, Floats>>) => Object.values(outputs).every((x) => allFinite(x))
const mebibytes = (bytes: number) => Math.ceil(bytes / 2 ** 20)

function availableMemory(): number {
  const limit = constrainedMemory()
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem()
}
