// One training operation on its way: which datums are done, its own gradient, loss, log-probabilities and plan. What it
// gathered reaches the adapter when it is whole, or never. Knows one operation; knows nothing of its neighbours.

import type { EngineFailure, LossSpec, Outcome, TrainingDatum, TrainingItem, TrainingResult } from '../backend.ts'
import { checkDatums, type DatumLimits } from '../datum-check.ts'
import { engineError, toFailure } from '../engine-errors.ts'
import type { Share } from '../fair-queue.ts'
import { LOSSES } from '../losses.ts'
import type { Adapter } from './adapter.ts'
import { type Batch, datumsOf, type Part, targetInputs } from './batch.ts'
import { partLogprobs } from './batch-arrays.ts'
import { type BatchRecord, batchRecord, checkPlan, PLAN_VERSION, type PlannedWork, recordedBatch } from './plan.ts'
import { addGradient, type Floats } from './training-stacks.ts'

export class Operation implements PlannedWork {
  readonly datums: readonly TrainingDatum[]
  readonly loss: LossSpec
  readonly backward: boolean
  readonly weights: Adapter
  next = 0
  #failure: EngineFailure | undefined
  readonly #item: TrainingItem
  readonly #runtime: string
  /** Made when the first datum is done: what waits takes no memory for it. */
  #gradient: Float32Array | null = null
  readonly #logprobs: Float32Array[] = []
  readonly #records: BatchRecord[] = []
  #lossSum = 0

  constructor(item: TrainingItem, adapter: Adapter, runtime: string) {
    this.#item = item
    this.datums = item.datums
    this.loss = item.loss
    this.backward = item.backward
    this.weights = adapter
    this.#runtime = runtime
  }

  get id(): string {
    return this.#item.operation
  }
  get adapter(): string {
    return this.#item.adapter
  }
  /** Work that comes without a share is nobody's but its adapter's. */
  get share(): Share {
    return this.#item.share ?? { party: `adapter ${this.adapter}`, weight: 1 }
  }
  get alone(): boolean {
    return this.weights.isolated || this.#item.plan !== undefined
  }
  get isDone(): boolean {
    return this.#failure !== undefined || this.next === this.datums.length
  }

  /** Refuses what cannot be computed, before anything is. */
  check(limits: DatumLimits): void {
    try {
      checkDatums(this.datums, this.loss, limits)
      if (this.#item.plan) checkPlan(this.#item.plan, this.#runtime, this)
    } catch (error) {
      this.fail(toFailure(error))
    }
  }
  fail(failure: EngineFailure): void {
    this.#failure ??= failure
  }
  /** Its numbers are not finite though nobody else's were near. */
  poison(first: number, count: number): void {
    this.weights.isolated = true
    const range = count === 1 ? `datum ${first}` : `one of datums ${first} to ${first + count - 1}`
    const { operation, adapter } = this.#item
    this.fail(
      engineError(
        'NON_FINITE',
        `operation ${operation}: log-probabilities or gradients of adapter ${adapter} are not finite in ${range}; ` +
          'its weights or the loss inputs are too large. Nothing was added to its gradient: load an earlier checkpoint ' +
          'or lower the learning rate, and look at advantages and logprobs',
      ),
    )
  }

  /** The next batch of the plan that this operation is to be computed by, if it came with one. */
  replayed(): Batch<Operation> | undefined {
    const { plan } = this.#item
    return plan && recordedBatch(plan.batches[this.#records.length] as BatchRecord, this)
  }

  /** Takes in the outputs of a run, all of which are finite. */
  take({ shape }: Batch<Operation>, part: Part<Operation>, outputs: Readonly<Record<string, Floats>>): void {
    const { place } = part
    const logprobs = partLogprobs(part, shape, outputs)
    datumsOf(part).forEach((datum, i) => {
      this.#lossSum += lossSum(datum, logprobs[i] as Float64Array, this.loss)
    })
    this.#logprobs.push(...logprobs.map((p) => Float32Array.from(p)))
    if (this.backward) {
      this.#gradient ??= new Float32Array(this.weights.layout.size)
      addGradient(this.#gradient, outputs, shape.columns, { weights: this.weights, column: place.column })
    }
    this.#records.push(batchRecord(shape, place))
    this.next = place.first + place.count
  }

  /** Ends the operation: its gradient is the adapter's from now on, or nothing happened. */
  finish(): Outcome<TrainingResult> {
    if (!this.#failure && !Number.isFinite(this.#lossSum)) this.poison(0, this.datums.length)
    const { operation } = this.#item
    if (this.#failure) return { operation, error: this.#failure }
    if (this.#gradient) this.weights.addGradient(this.#gradient)
    const plan = { version: PLAN_VERSION, runtime: this.#runtime, batches: this.#records }
    return { operation, result: { logprobs: this.#logprobs, loss: this.#lossSum, plan } }
  }
}

/** Sum of the loss over a datum's targets. */
function lossSum(datum: TrainingDatum, logprobs: Float64Array, loss: LossSpec): number {
  const { value } = LOSSES[loss.name]
  let sum = 0
  for (let i = 0; i < logprobs.length; i++) {
    const inputs = targetInputs(datum, Math.floor(i / datum.width), i % datum.width)
    sum += value(logprobs[i] as number, inputs, loss.config)
  }
  return sum
}
