// How an adapter of Twinkle's protocol is trained and how far it is: settings that requests name, and counts that operations
// change. Plain JSON; a change is a function from one state to the next, so that whoever ends an operation can write it in
// the same transaction. Knows no table and no engine.

import type { TrainingDatum } from '../../backends/backend.ts'
import type { Kwargs } from '../../catalogue/arguments.ts'
import { type CatalogueLossSpec, DEFAULT_LOSS, lossTokens } from '../../catalogue/losses/catalogue.ts'
import type { MetricPass, MetricResult } from '../../catalogue/metrics/metric.ts'
import {
  addToMetrics,
  calculateMetrics,
  DEFAULT_METRICS,
  type KeptMetric,
  resolveMetric,
} from '../../catalogue/metrics/metrics.ts'
import type { OptimizerSpec } from '../../catalogue/optimizers/spec.ts'
import {
  advanceSchedule,
  type Schedule,
  type SchedulerSpec,
  scheduledOptimizer,
} from '../../catalogue/schedulers/schedulers.ts'
import type { LoraRequest } from './lora-request.ts'

/** A name of the catalogue and what it was given. */
export interface Named {
  readonly name: string
  readonly kwargs: Kwargs
}

export interface OptimizerState {
  readonly name: string
  readonly spec: OptimizerSpec
  /** No step has been taken with it. */
  readonly isFresh: boolean
}

export interface SchedulerState {
  readonly name: string
  readonly spec: SchedulerSpec
  /** Where it is. */
  readonly at: Schedule
}

export interface AdapterState {
  readonly lora: LoraRequest
  /** A place of the client's, which we never write to. */
  readonly saveDir: string | null
  readonly template: Named | null
  readonly processor: Named | null
  readonly loss: CatalogueLossSpec
  readonly optimizer: OptimizerState | null
  readonly scheduler: SchedulerState | null
  /** Backward passes of which an update is made. */
  readonly accumulation: number
  readonly progress: Progress
  readonly gradient: Gradient
  readonly metrics: Metrics
  /** The operation that forward was, for calculate_loss and backward. */
  readonly batch: string | null
  /** Name of the weights that the last save for a sampler made. */
  readonly samplerName: string | null
}

/** Of passes that train, and of those that only look. */
export interface Metrics {
  readonly training: readonly KeptMetric[]
  readonly evaluation: readonly KeptMetric[]
}

/** What a checkpoint with optimiser state remembers. */
export interface Progress {
  readonly steps: number
  readonly consumed: number
}

/** What the gradient that an engine holds is a sum over. */
export interface Gradient {
  /** All passes so far. */
  readonly total: number
  /** Passes of this update: at `accumulation` it is due, and the next pass begins another one. */
  readonly passes: number
  /** Not normalised yet: tokens of losses that are sums, passes of losses that are means. */
  readonly tokens: number
  readonly batches: number
  /** Of the last one that was clipped; null before. */
  readonly norm: number | null
}

const NO_GRADIENT: Gradient = { total: 0, passes: 0, tokens: 0, batches: 0, norm: null }

/** @param now milliseconds of the clock, from which speeds are counted */
export function newState(lora: LoraRequest, saveDir: string | null, accumulation: number, now: number): AdapterState {
  const metrics = DEFAULT_METRICS.map((name) => resolveMetric(name, {}, { now, passes: 0 }))
  return {
    lora,
    saveDir,
    template: null,
    processor: null,
    loss: DEFAULT_LOSS,
    optimizer: null,
    scheduler: null,
    accumulation,
    progress: { steps: 0, consumed: 0 },
    gradient: NO_GRADIENT,
    metrics: { training: metrics, evaluation: metrics },
    batch: null,
    samplerName: null,
  }
}

/**
 * clip_grad_norm, step, zero_grad and lr_step do something when this is true: after every `accumulation` passes. (Twinkle's
 * own server waits for one pass more before the first update; that is not copied.)
 */
export function isUpdateDue({ gradient, accumulation }: AdapterState): boolean {
  return gradient.passes >= accumulation
}

/** What the gradient has to be divided by; 1 for one that was normalised already. */
export function divisorOf({ gradient: { tokens, batches } }: AdapterState): number {
  return tokens + batches || 1
}

/** The optimiser with the learning rate of this moment; null where none is set. */
export function currentOptimizer({ optimizer, scheduler }: AdapterState): OptimizerSpec | null {
  if (!optimizer || !scheduler) return optimizer?.spec ?? null
  return scheduledOptimizer(scheduler.spec, scheduler.at, optimizer.spec)
}

/** What a pass gave, as metrics count it. */
export interface Pass {
  readonly loss: CatalogueLossSpec
  readonly datums: readonly TrainingDatum[]
  /** Of the whole pass; null where it was not computed. */
  readonly value: number | null
  /** Per datum [N]. */
  readonly logprobs: readonly ArrayLike<number>[]
  readonly entropies?: readonly ArrayLike<number>[]
  /** Labels that were the likeliest token. */
  readonly likeliest?: number
  /** Per datum, of those that were embedded. */
  readonly embeddings?: readonly ArrayLike<number>[]
}

/** A backward pass was done. */
export function afterPass(state: AdapterState, pass: Pass): AdapterState {
  const { total, passes, tokens, batches, norm } = state.gradient
  const counted = lossTokens(pass.loss, pass.datums)
  return {
    ...state,
    batch: null,
    metrics: { ...state.metrics, training: addToMetrics(state.metrics.training, metricPass(pass)) },
    gradient: {
      total: total + 1,
      passes: passes >= state.accumulation ? 1 : passes + 1,
      tokens: tokens + counted,
      batches: batches + (counted === 0 ? 1 : 0),
      norm,
    },
  }
}

/** A pass that only looked was done. */
export function afterLook(state: AdapterState, pass: Pass): AdapterState {
  const { metrics } = state
  return { ...state, metrics: { ...metrics, evaluation: addToMetrics(metrics.evaluation, metricPass(pass)) } }
}

function metricPass({ loss, datums, value, logprobs, entropies, embeddings, likeliest }: Pass): MetricPass {
  const rows = datums.map((datum, i) => ({
    ...datum,
    logps: logprobs[i] ?? [],
    ...(entropies?.[i] && { entropies: entropies[i] }),
    ...(embeddings?.[i] && { embedding: embeddings[i], isAnchor: datum.targets.at(-1) === 1 }),
  }))
  const known = likeliest === undefined ? {} : { likeliest }
  return { rows, loss: value, lossTokens: lossTokens(loss, datums), ...known }
}

/** One more metric, of both kinds of passes or of one. Throws CatalogueError. */
export function withMetric(
  state: AdapterState,
  { name, kwargs }: Named,
  kinds: readonly (keyof Metrics)[],
  now: number,
): AdapterState {
  const kept = resolveMetric(name, kwargs, { now, passes: state.gradient.total })
  const added = kinds.map((kind) => [kind, [...state.metrics[kind].filter((one) => one.name !== name), kept]])
  return { ...state, metrics: { ...state.metrics, ...Object.fromEntries(added) } }
}

/** What the metrics of one kind of passes say; they count anew from now on. */
export function measured(
  state: AdapterState,
  kind: keyof Metrics,
  now: number,
): { state: AdapterState; result: MetricResult } {
  const { gradient, accumulation } = state
  const rate = currentOptimizer(state)?.learningRate
  const moment = { now, passes: gradient.total, accumulation, learningRates: rate === undefined ? [] : [rate] }
  const { result, metrics } = calculateMetrics(state.metrics[kind], { ...moment, gradientNorm: gradient.norm })
  return { state: { ...state, metrics: { ...state.metrics, [kind]: metrics } }, result }
}

/** Normalised, and clipped where it was longer; `norm` is its length in between. */
export function afterClip(state: AdapterState, norm: number): AdapterState {
  return { ...state, gradient: { ...state.gradient, tokens: 0, batches: 0, norm } }
}

/** The engine's gradient is used up. The update is not over: what follows a step still asks whether it is due. */
export function afterStep(state: AdapterState): AdapterState {
  const { gradient, progress, optimizer } = state
  return {
    ...state,
    optimizer: optimizer && { ...optimizer, isFresh: false },
    gradient: { ...gradient, tokens: 0, batches: 0 },
    progress: { ...progress, steps: progress.steps + 1 },
  }
}

export function afterZeroGrad(state: AdapterState): AdapterState {
  return { ...state, gradient: { ...state.gradient, tokens: 0, batches: 0 } }
}

/** A step of the learning rate; nothing where no scheduler is set. Throws CatalogueError. */
export function afterLrStep(state: AdapterState, kwargs: Kwargs): AdapterState {
  const { scheduler } = state
  return scheduler
    ? { ...state, scheduler: { ...scheduler, at: advanceSchedule(scheduler.spec, scheduler.at, kwargs) } }
    : state
}

/** Other weights: no gradient; and where the optimiser came along, how far it was. `resumed` is null where it did not. */
export function afterLoad(state: AdapterState, resumed: Resumable | 'unknown' | null): AdapterState {
  const { optimizer, scheduler } = state
  const { total, norm } = state.gradient
  const clean = { ...state, gradient: { ...NO_GRADIENT, total, norm }, batch: null }
  if (resumed === null) return { ...clean, optimizer: optimizer && { ...optimizer, isFresh: true } }
  const loaded = { ...clean, optimizer: optimizer && { ...optimizer, isFresh: false } }
  if (resumed === 'unknown') return loaded
  const { progress, accumulation, scheduleStep } = resumed
  const at = scheduler && scheduleStep !== null ? { ...scheduler.at, step: scheduleStep } : scheduler?.at
  return { ...loaded, progress, accumulation, scheduler: scheduler && at ? { ...scheduler, at } : scheduler }
}

/** The part of a state that belongs to a checkpoint with optimiser state. Settings are the script's to make again. */
export interface Resumable extends Pick<AdapterState, 'progress' | 'accumulation'> {
  /** Of the learning rate's schedule; null without one. */
  readonly scheduleStep: number | null
}

export function resumableOf({ progress, accumulation, scheduler }: AdapterState, consumed: number): Resumable {
  return { progress: { ...progress, consumed }, accumulation, scheduleStep: scheduler?.at.step ?? null }
}

/** Key of a checkpoint's metadata; its text is a Resumable. */
export const RESUMABLE_KEY = 'twinkle_progress'

/** Null for checkpoints of other protocols. Their clients write metadata as they like: what is no Resumable is none. */
export function readResumable(metadata: string): Resumable | null {
  const text: unknown = JSON.parse(metadata)[RESUMABLE_KEY]
  if (typeof text !== 'string') return null
  try {
    const { progress, accumulation, scheduleStep } = JSON.parse(text)
    const { steps, consumed } = progress
    const isCount = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0
    const isWhole = [steps, consumed, accumulation, scheduleStep ?? 0].every(isCount) && accumulation > 0
    return isWhole ? { progress: { steps, consumed }, accumulation, scheduleStep: scheduleStep ?? null } : null
  } catch {
    return null
  }
}
