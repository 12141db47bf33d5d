import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import type { Kwargs } from '../arguments.ts'
import type { OptimizerSpec } from '../optimizers/spec.ts'
import {
  advanceSchedule,
  beginSchedule,
  resolveScheduler,
  SCHEDULER_NAMES,
  type Schedule,
  scheduledOptimizer,
} from './schedulers.ts'

interface Golden {
  readonly name: string
  readonly kwargs: Kwargs
  readonly rule: 'adamw' | 'sgd'
  /** Learning rate, and momentum or first beta, at each step from 0 on. */
  readonly settings: readonly (readonly [number, number])[]
}
const goldens: { base: number; losses: number[]; cases: Golden[] } = JSON.parse(
  readFileSync(new URL('goldens/schedulers.json', import.meta.url), 'utf8'),
)
const ADAMW: OptimizerSpec = {
  ...{ rule: 'adamw', learningRate: goldens.base, weightDecay: 0.01, clipNorm: 0 },
  ...{ beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
}
const SGD: OptimizerSpec = {
  ...{ rule: 'sgd', learningRate: goldens.base, weightDecay: 0, clipNorm: 0 },
  ...{ momentum: 0.5, dampening: 0, nesterov: false },
}
const OPTIMIZERS = { adamw: ADAMW, sgd: SGD }
const momentumOf = (spec: OptimizerSpec) => (spec.rule === 'sgd' ? spec.momentum : spec.beta1)

describe('a scheduler', () => {
  it.each(goldens.cases)('$name $kwargs on $rule sets what it sets in PyTorch', ({ name, kwargs, rule, settings }) => {
    const spec = resolveScheduler(name, kwargs)
    let schedule = beginSchedule(spec, OPTIMIZERS[rule])
    for (const [step, [rate, momentum]] of settings.entries()) {
      const optimizer = scheduledOptimizer(spec, schedule, OPTIMIZERS[rule])
      const what = `step ${step}`
      expect(Math.abs(optimizer.learningRate - rate), what).toBeLessThan(1e-12)
      expect(Math.abs(momentumOf(optimizer) - momentum), what).toBeLessThan(1e-12)
      // Between two requests it is stored.
      const stored = JSON.parse(JSON.stringify(schedule)) as Schedule
      const metrics = goldens.losses[step] as number
      if (step < settings.length - 1) schedule = advanceSchedule(spec, stored, schedule.plateau ? { metrics } : {})
    }
  })

  it('has goldens for every name', () => {
    expect([...new Set(goldens.cases.map(({ name }) => name))].sort()).toEqual([...SCHEDULER_NAMES].sort())
  })

  it('changes nothing of an optimiser but what it sets', () => {
    const spec = resolveScheduler('LinearLR')
    const scheduled = scheduledOptimizer(spec, beginSchedule(spec, ADAMW), ADAMW)
    expect(scheduled).toEqual({ ...ADAMW, learningRate: goldens.base * (1 / 3) })
  })

  it('has no step beyond its last', () => {
    const spec = resolveScheduler('OneCycleLR', { max_lr: 0.1, total_steps: 2 })
    const last = { ...beginSchedule(spec, ADAMW), step: 2 }
    expect(() => advanceSchedule(spec, last)).toThrow(/OneCycleLR was set for 2 steps: there is no step 3/)
  })

  it('that watches a number is told it with every step, and the others are not', () => {
    const plateau = resolveScheduler('ReduceLROnPlateau')
    expect(() => advanceSchedule(plateau, beginSchedule(plateau, ADAMW))).toThrow(
      'The step of ReduceLROnPlateau needs the argument metrics.',
    )
    const step = resolveScheduler('StepLR', { step_size: 1 })
    expect(() => advanceSchedule(step, beginSchedule(step, ADAMW), { metrics: 1 })).toThrow(/no argument "metrics"/)
  })
})

describe('what cannot be had', () => {
  it.each<[string, Kwargs, string, RegExp]>([
    ['Cosine', {}, 'UNKNOWN_NAME', /There is no scheduler "Cosine"/],
    ['constructor', {}, 'UNKNOWN_NAME', /"constructor"/],
    ['LambdaLR', { lr_lambda: 'lambda step: 1' }, 'UNSUPPORTED_NAME', /code of a request is never run/],
    ['SequentialLR', {}, 'UNSUPPORTED_NAME', /needs other schedulers as objects/],
    ['StepLR', {}, 'INVALID_ARGUMENT', /needs the argument step_size/],
    ['StepLR', { step_size: 0 }, 'INVALID_ARGUMENT', /step_size = 0/],
    ['LinearLR', { total_steps: 5 }, 'UNKNOWN_ARGUMENT', /LinearLR has no argument "total_steps"/],
    ['LinearLR', { last_epoch: 3 }, 'INVALID_ARGUMENT', /last_epoch = 3/],
    ['LinearLR', { total_iters: 0 }, 'INVALID_ARGUMENT', /total_iters = 0/],
    ['MultiStepLR', { milestones: [1.5] }, 'INVALID_ARGUMENT', /milestones = \[1.5\]/],
    ['CyclicLR', { base_lr: 0, max_lr: 1, scale_fn: 'lambda x: x' }, 'INVALID_ARGUMENT', /scale_fn = "lambda/],
    ['OneCycleLR', { max_lr: 1 }, 'INVALID_ARGUMENT', /cannot take total_steps = null/],
    ['OneCycleLR', { max_lr: 1, total_steps: 10, pct_start: 0.1 }, 'INVALID_ARGUMENT', /pct_start = 0.1/],
    ['OneCycleLR', { max_lr: 1, total_steps: 10, pct_start: 1 }, 'INVALID_ARGUMENT', /pct_start = 1/],
    ['ReduceLROnPlateau', { factor: 1 }, 'INVALID_ARGUMENT', /factor = 1/],
    ['default', {}, 'INVALID_ARGUMENT', /needs the argument lr_decay_steps/],
    ['default', { lr_decay_steps: 5, lr_warmup_steps: 5 }, 'INVALID_ARGUMENT', /lr_warmup_steps = 5/],
    ['default', { lr_decay_steps: 5, lr_decay_style: 'WSD' }, 'INVALID_ARGUMENT', /wsd_decay_steps = null/],
  ])('%s with %j is refused (%s)', (name, kwargs, code, sentence) => {
    expect(() => resolveScheduler(name, kwargs)).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(sentence) }),
    )
  })

  it('is answered with all that can be', () => {
    for (const name of ['Cosine', 'LambdaLR']) {
      expect(() => resolveScheduler(name)).toThrow(
        expect.objectContaining({ next: `There are: ${SCHEDULER_NAMES.join(', ')}.` }),
      )
    }
  })
})
