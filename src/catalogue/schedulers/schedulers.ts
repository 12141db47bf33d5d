// The learning rate schedulers that a request may name, and how an optimiser follows one: plain data for what was asked for
// and for where it is, so that both can be stored. torch's first rate counts from the moment that a scheduler is set.

import { Arguments, type Kwargs } from '../arguments.ts'
import { CatalogueError, unknownName, unsupportedName } from '../catalogue-error.ts'
import type { OptimizerSpec } from '../optimizers/spec.ts'
import { cosineAnnealingLR, cosineAnnealingWarmRestarts } from './cosine.ts'
import { cyclicLR, oneCycleLR } from './cycles.ts'
import { constantLR, exponentialLR, linearLR, multiStepLR, polynomialLR, stepLR } from './decay.ts'
import { firstOfPlateau, nextOfPlateau, type PlateauConfig, type PlateauMemory, readPlateau } from './plateau.ts'
import type { Numbers, Scheduler, Setting } from './scheduler.ts'
import { cosineWarmup, linearWarmup, megatron } from './warmup.ts'

const PLATEAU = 'ReduceLROnPlateau'
const SCHEDULERS: Readonly<Record<string, Scheduler>> = {
  ConstantLR: constantLR,
  LinearLR: linearLR,
  StepLR: stepLR,
  MultiStepLR: multiStepLR,
  ExponentialLR: exponentialLR,
  PolynomialLR: polynomialLR,
  CosineAnnealingLR: cosineAnnealingLR,
  CosineAnnealingWarmRestarts: cosineAnnealingWarmRestarts,
  CyclicLR: cyclicLR,
  OneCycleLR: oneCycleLR,
  CosineWarmupScheduler: cosineWarmup,
  LinearWarmupScheduler: linearWarmup,
  default: megatron,
  OptimizerParamScheduler: megatron,
}

/** Of torch.optim.lr_scheduler, with the reason in a clause. */
const NOT_OURS: Readonly<Record<string, string>> = {
  LambdaLR: 'it needs a function, and code of a request is never run',
  MultiplicativeLR: 'it needs a function, and code of a request is never run',
  SequentialLR: 'it needs other schedulers as objects, which a request cannot hold',
  ChainedScheduler: 'it needs other schedulers as objects, which a request cannot hold',
}

export const SCHEDULER_NAMES = [...Object.keys(SCHEDULERS), PLATEAU]

/** A scheduler and its arguments. Plain JSON. */
export interface SchedulerSpec {
  readonly name: string
  readonly config: Numbers
}

/** Where a scheduler is. Plain JSON. */
export interface Schedule {
  /** How often it was stepped. */
  readonly step: number
  /** The learning rate of the optimiser when the scheduler was set. */
  readonly base: number
  readonly plateau?: PlateauMemory
}

/** Throws CatalogueError naming what is not known, with all that is. */
export function resolveScheduler(name: string, kwargs: Kwargs = {}): SchedulerSpec {
  const known = Object.hasOwn(SCHEDULERS, name) ? SCHEDULERS[name] : undefined
  if (!known && name !== PLATEAU) {
    const reason = Object.hasOwn(NOT_OURS, name) ? NOT_OURS[name] : undefined
    if (reason !== undefined) throw unsupportedName('scheduler', name, reason, SCHEDULER_NAMES)
    throw unknownName('scheduler', name, SCHEDULER_NAMES)
  }
  const args = new Arguments('scheduler', name, kwargs)
  const config = known ? known.read(args) : readPlateau(args)
  // Old releases of torch have `verbose`; a `last_epoch` would need a state that came with it.
  args.only('last_epoch', -1)
  args.ignore('verbose')
  args.end()
  return { name, config }
}

/** A scheduler that is set now, on an optimiser as it was set. */
export function beginSchedule({ name }: SchedulerSpec, { learningRate }: OptimizerSpec): Schedule {
  const plateau = name === PLATEAU && { plateau: firstOfPlateau(learningRate) }
  return { step: 0, base: learningRate, ...plateau }
}

/**
 * After one more step of the scheduler.
 *
 * @param kwargs of the step: `metrics`, the number that ReduceLROnPlateau watches; the others take none
 * @throws CatalogueError where there is no further step, or the arguments are not those of the scheduler
 */
export function advanceSchedule(spec: SchedulerSpec, schedule: Schedule, kwargs: Kwargs = {}): Schedule {
  const args = new Arguments('step of', spec.name, kwargs)
  const step = schedule.step + 1
  if (schedule.plateau) {
    const seen = args.number('metrics', undefined)
    args.end()
    return { ...schedule, step, plateau: nextOfPlateau(spec.config as PlateauConfig, schedule.plateau, seen) }
  }
  args.end()
  const last = schedulerOf(spec).last?.(spec.config) ?? Number.POSITIVE_INFINITY
  if (step > last) {
    const sentence = `The scheduler ${spec.name} was set for ${last} steps: there is no step ${step}.`
    throw new CatalogueError('INVALID_ARGUMENT', sentence, 'Set a new one, or one of more steps.')
  }
  return { ...schedule, step }
}

/** The optimiser as it is to step now: with the learning rate, and the momentum where the scheduler moves it. */
export function scheduledOptimizer(spec: SchedulerSpec, schedule: Schedule, optimizer: OptimizerSpec): OptimizerSpec {
  const { learningRate, momentum } = settingOf(spec, schedule)
  if (momentum === undefined) return { ...optimizer, learningRate }
  if (optimizer.rule === 'sgd') return { ...optimizer, learningRate, momentum }
  return { ...optimizer, learningRate, beta1: momentum }
}

function settingOf(spec: SchedulerSpec, { step, base, plateau }: Schedule): Setting {
  return plateau ? { learningRate: plateau.learningRate } : schedulerOf(spec).at(spec.config, base, step)
}

const schedulerOf = ({ name }: SchedulerSpec) => SCHEDULERS[name] as Scheduler
