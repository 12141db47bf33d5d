// One training operation on its way: which datums are done in which pass, its own gradient, loss, log-probabilities and plan.
// What it gathered reaches the adapter when it is whole, or never. A token loss takes one pass over the datums, a joint loss
// with a gradient two: the first one scores, the second takes the slopes backward. Knows nothing of its neighbours.

import { unitVector } from '../../catalogue/losses/infonce.ts'
import type { EngineFailure, LossSpec, Outcome, TrainingDatum, TrainingItem, TrainingResult } from '../backend.ts'
import { checkDatums, type DatumLimits } from '../datum-check.ts'
import { engineError, toFailure } from '../engine-errors.ts'
import type { Share } from '../fair-queue.ts'
import { entropyWeightOf, lossOf, type TokenLoss, targetInputs } from '../losses.ts'
import type { Adapter } from './adapter.ts'
import type { Batch, Part } from './batch.ts'
import { partBest, partEntropies, partLogprobs, partVectors } from './head-rows.ts'
import { type BatchRecord, batchRecord, checkPlan, PLAN_VERSION, type PlannedWork, recordedBatch } from './plan.ts'
import type { HeadExtra } from './training-graph.ts'
import { addGradient, type Floats } from './training-stacks.ts'

export class Operation implements PlannedWork {
  readonly datums: readonly TrainingDatum[]
  readonly loss: LossSpec
  readonly weights: Adapter
  next = 0
  slopes: readonly Float64Array[] | undefined
  readonly head: HeadExtra | undefined
  /** Null before anybody asked. */
  #shares: readonly Float64Array[] | undefined | null = null
  /** The passes over the datums: whether each computes a gradient. */
  readonly #passes: readonly boolean[]
  #pass = 0
  #failure: EngineFailure | undefined
  readonly #item: TrainingItem
  readonly #runtime: string
  /** Made when the first datum has a gradient: what waits takes no memory for it. */
  #gradient: Float32Array | null = null
  /** Of the first pass, in the graph's precision: log-probabilities, or the vectors that embeddings are the directions of. */
  readonly #scores: Float64Array[] = []
  /** Of the first pass; stays empty where the loss has no use for them. */
  readonly #entropies: Float64Array[] = []
  /** Whether its labels are counted: one a position, and a mask that says which of them count. */
  readonly #isCounted: boolean
  #likeliest = 0
  readonly #records: BatchRecord[] = []
  #lossSum = 0

  constructor(item: TrainingItem, adapter: Adapter, runtime: string) {
    this.#item = item
    this.datums = item.datums
    this.loss = item.loss
    this.#passes = item.backward && lossOf(item.loss.name).kind !== 'token' ? [false, true] : [item.backward]
    this.head = headOf(item.loss)
    this.#isCounted = this.head !== 'embeddings' && item.datums.every(({ mask, width }) => mask && width === 1)
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
  /** Of all its datums, as means are taken over the whole operation. */
  get shares(): readonly Float64Array[] | undefined {
    if (this.#shares === null) this.#shares = lossOf(this.loss.name).shares?.(this.datums, this.loss.config)
    return this.#shares
  }
  get backward(): boolean {
    return this.#passes[this.#pass] ?? false
  }
  get alone(): boolean {
    return this.weights.isolated || this.#item.plan !== undefined
  }
  get isDone(): boolean {
    return this.#failure !== undefined || this.#pass === this.#passes.length
  }

  /** Refuses what cannot be computed, before anything is. */
  check(limits: DatumLimits): void {
    try {
      checkDatums(this.datums, this.loss, limits)
      if (this.#item.plan) checkPlan(this.#item.plan, this.#runtime, this, this.#passes)
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
    if (this.#pass === 0) {
      const scored = this.head === 'embeddings' ? partVectors : partLogprobs
      this.#scores.push(...scored(part, shape, outputs))
      if (this.#isCounted) this.#countLikeliest(part, partBest(part, shape, outputs))
      if (this.head === 'entropies') this.#entropies.push(...partEntropies(part, shape, outputs))
    }
    if (shape.backward) {
      this.#gradient ??= new Float32Array(this.weights.layout.size)
      addGradient(this.#gradient, outputs, shape.columns, { weights: this.weights, column: place.column })
    }
    this.#records.push(batchRecord(shape, place))
    this.next = place.first + place.count
    if (this.next === this.datums.length) this.#endPass()
  }

  /** The scores of the part's datums are the last that came. */
  #countLikeliest({ place: { first, count } }: Part<Operation>, best: readonly Float64Array[]): void {
    for (let i = first; i < first + count; i++) {
      const [scores, top] = [this.#scores[i] as Float64Array, best[i - first] as Float64Array]
      this.datums[i]?.mask?.forEach((counts, at) => {
        if (counts !== 0 && (scores[at] as number) >= (top[at] as number)) this.#likeliest++
      })
    }
  }

  #endPass(): void {
    if (this.#pass === 0) this.#evaluate()
    this.#pass++
    if (this.#pass < this.#passes.length) this.next = 0
  }

  /** The loss of all datums, and the slopes that the next pass takes backward. */
  #evaluate(): void {
    const { config, name } = this.loss
    const rule = lossOf(name)
    const bonus = this.#entropyBonus()
    if (rule.kind === 'token') {
      this.datums.forEach((datum, i) => {
        this.#lossSum += tokenLossSum(datum, this.#scores[i] as Float64Array, rule, config, this.shares?.[i])
      })
      this.#lossSum -= bonus
      return
    }
    const { loss, slopes } = rule.joint(this.datums, this.#scores, config)
    this.#lossSum = loss - bonus
    this.slopes = slopes
    const areFinite = slopes.every((row) => row.every(Number.isFinite))
    if (!areFinite) this.poison(0, this.datums.length)
  }

  #entropyBonus(): number {
    const weight = entropyWeightOf(this.loss)
    if (weight === 0) return 0
    const bonuses = this.#entropies.map((row, i) =>
      row.reduce((sum, h, at) => sum + h * (this.shares?.[i]?.[at] ?? 0), 0),
    )
    return weight * bonuses.reduce((a, b) => a + b, 0)
  }

  /** Ends the operation: its gradient is the adapter's from now on, or nothing happened. */
  finish(): Outcome<TrainingResult> {
    if (!this.#failure && !Number.isFinite(this.#lossSum)) this.poison(0, this.datums.length)
    const { operation } = this.#item
    if (this.#failure) return { operation, error: this.#failure }
    if (this.#gradient) this.weights.addGradient(this.#gradient)
    const plan = { version: PLAN_VERSION, runtime: this.#runtime, batches: this.#records }
    return { operation, result: { ...this.#answers(), loss: this.#lossSum, plan } }
  }

  /** What the first pass found, as float32. */
  #answers(): Omit<TrainingResult, 'loss' | 'plan'> {
    const rounded = (rows: readonly Float64Array[]) => rows.map((row) => Float32Array.from(row))
    if (this.head === 'embeddings') {
      return { logprobs: this.datums.map(() => new Float32Array()), embeddings: rounded(this.#scores.map(unitVector)) }
    }
    const logprobs = rounded(this.#scores)
    return {
      logprobs,
      ...(this.#isCounted && { likeliest: this.#likeliest }),
      ...(this.head === 'entropies' && { entropies: rounded(this.#entropies) }),
    }
  }
}

/** What a loss needs of the head besides log-probabilities, or instead. */
function headOf(loss: LossSpec): HeadExtra | undefined {
  if (lossOf(loss.name).kind === 'embedding') return 'embeddings'
  return entropyWeightOf(loss) > 0 ? 'entropies' : undefined
}

/** Sum of a token loss over a datum's targets. */
function tokenLossSum(
  datum: TrainingDatum,
  logprobs: Float64Array,
  rule: TokenLoss,
  config: LossSpec['config'],
  shares: Float64Array | undefined,
): number {
  let sum = 0
  for (let i = 0; i < logprobs.length; i++) {
    const position = Math.floor(i / datum.width)
    const share = shares ? (shares[position] as number) : 1
    if (share === 0) continue
    sum += share * rule.value(logprobs[i] as number, targetInputs(datum, position, i % datum.width), config)
  }
  return sum
}
