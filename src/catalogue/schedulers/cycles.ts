// Schedulers with rates of their own, which also move momentum against the learning rate: Smith, "Cyclical learning rates for
// training neural networks", 2017; Smith and Topin, "Super-convergence", 2018. As torch.optim.lr_scheduler defines them.

import type { Arguments } from '../arguments.ts'
import { alongCosine, type Setting, scheduler } from './scheduler.ts'

const MODES = ['triangular', 'triangular2', 'exp_range'] as const
const SHARE = { atLeast: 0, below: 1 }

function momenta(args: Arguments, low: number, high: number) {
  return {
    cycleMomentum: args.boolean('cycle_momentum', true),
    baseMomentum: args.number('base_momentum', low, SHARE),
    maxMomentum: args.number('max_momentum', high, SHARE),
  }
}

/** Up from `base_lr` to `max_lr` and down again, in ever smaller triangles where the mode says so. */
export const cyclicLR = scheduler({
  read: (args) => {
    const up = args.integer('step_size_up', 2000, { atLeast: 1 })
    const given = {
      base: args.number('base_lr', undefined, { atLeast: 0 }),
      max: args.number('max_lr', undefined, { atLeast: 0 }),
      up,
      down: args.integerOrNull('step_size_down', null, { atLeast: 1 }) ?? up,
      mode: args.choice('mode', 'triangular', MODES),
      gamma: args.number('gamma', 1, { atLeast: 0 }),
      ...momenta(args, 0.8, 0.9),
    }
    args.only('scale_fn', null)
    // It counts with a scale_fn only.
    args.choice('scale_mode', 'cycle', ['cycle', 'iterations'])
    return given
  },
  at: ({ base, max, up, down, mode, gamma, cycleMomentum, baseMomentum, maxMomentum }, _, step) => {
    const total = up + down
    const cycle = Math.floor(1 + step / total)
    const x = 1 + step / total - cycle
    const top = up / total
    const height = x <= top ? x / top : (x - 1) / (top - 1)
    const scale = { triangular: 1, triangular2: 1 / 2 ** (cycle - 1), exp_range: gamma ** step }[mode]
    return setting(base + (max - base) * height * scale, cycleMomentum, () => {
      return maxMomentum - (maxMomentum - baseMomentum) * height * scale
    })
  },
})

/** One cycle in all: up from max_lr / div_factor, down to a small part of that. Beyond its last step there is nothing. */
export const oneCycleLR = scheduler({
  read: (args) => {
    const max = args.number('max_lr', undefined, { above: 0 })
    const total = totalSteps(args)
    const start = args.number('pct_start', 0.3, { atLeast: 0, atMost: 1 })
    const three = args.boolean('three_phase', false)
    const given = {
      ...{ max, total, start, three },
      cosine: args.choice('anneal_strategy', 'cos', ['cos', 'linear']) === 'cos',
      divisor: args.number('div_factor', 25, { above: 0 }),
      lastDivisor: args.number('final_div_factor', 1e4, { above: 0 }),
      ...momenta(args, 0.85, 0.95),
    }
    const ends = [0, ...phasesOf(given).map(({ end }) => end)]
    if (ends.some((end, i) => i > 0 && end === ends[i - 1])) {
      args.refuse('pct_start', `another share: with ${total} steps a phase would have no length`)
    }
    return given
  },
  at: (config, _, step) => {
    const { cosine, cycleMomentum } = config
    const phases = phasesOf(config)
    const found = phases.findIndex(({ end }) => step <= end)
    const i = found < 0 ? phases.length - 1 : found
    const { end, rates, momenta } = phases[i] as Phase
    const begin = i === 0 ? 0 : (phases[i - 1] as Phase).end
    const share = (step - begin) / (end - begin)
    const along = ([from, to]: readonly [number, number]) =>
      cosine ? alongCosine(from, to, share) : from + (to - from) * share
    return setting(along(rates), cycleMomentum, () => along(momenta))
  },
  last: ({ total }) => total,
})

interface OneCycle {
  readonly max: number
  readonly total: number
  readonly start: number
  readonly three: boolean
  readonly divisor: number
  readonly lastDivisor: number
  readonly baseMomentum: number
  readonly maxMomentum: number
}

interface Phase {
  readonly end: number
  readonly rates: readonly [number, number]
  readonly momenta: readonly [number, number]
}

function phasesOf({ max, total, start, three, divisor, lastDivisor, baseMomentum, maxMomentum }: OneCycle): Phase[] {
  const initial = max / divisor
  const least = initial / lastDivisor
  const up: Phase = { end: start * total - 1, rates: [initial, max], momenta: [maxMomentum, baseMomentum] }
  const end = total - 1
  if (!three) return [up, { end, rates: [max, least], momenta: [baseMomentum, maxMomentum] }]
  return [
    up,
    { end: 2 * start * total - 2, rates: [max, initial], momenta: [baseMomentum, maxMomentum] },
    { end, rates: [initial, least], momenta: [maxMomentum, maxMomentum] },
  ]
}

function totalSteps(args: Arguments): number {
  const total = args.integerOrNull('total_steps', null, { atLeast: 1 })
  const epochs = args.integerOrNull('epochs', null, { atLeast: 1 })
  const perEpoch = args.integerOrNull('steps_per_epoch', null, { atLeast: 1 })
  if (total !== null) return total
  if (epochs === null || perEpoch === null) args.refuse('total_steps', 'given, or both epochs and steps_per_epoch')
  return epochs * perEpoch
}

const setting = (learningRate: number, moves: boolean, momentum: () => number): Setting =>
  moves ? { learningRate, momentum: momentum() } : { learningRate }
