// Schedulers that warm up first: Twinkle's two, with the formulas of transformers' get_cosine_schedule_with_warmup and
// get_linear_schedule_with_warmup, and Megatron's OptimizerParamScheduler, whose other name is `default`.

import type { Arguments } from '../arguments.ts'
import { scheduler } from './scheduler.ts'

const warmup = (args: Arguments) => ({
  warm: args.integer('num_warmup_steps', undefined, { atLeast: 0 }),
  total: args.integer('num_training_steps', undefined, { atLeast: 0 }),
})

/** Up in a line, then along `num_cycles` waves of a cosine (half a wave: down to 0). */
export const cosineWarmup = scheduler({
  read: (args) => ({ ...warmup(args), cycles: args.number('num_cycles', 0.5, { atLeast: 0 }) }),
  at: ({ warm, total, cycles }, base, step) => {
    if (step < warm) return { learningRate: base * (step / Math.max(1, warm)) }
    const done = (step - warm) / Math.max(1, total - warm)
    return { learningRate: base * Math.max(0, 0.5 * (1 + Math.cos(2 * Math.PI * cycles * done))) }
  },
})

/** Up in a line, then down in a line to 0. */
export const linearWarmup = scheduler({
  read: warmup,
  at: ({ warm, total }, base, step) => {
    if (step < warm) return { learningRate: base * (step / Math.max(1, warm)) }
    return { learningRate: base * Math.max(0, (total - step) / Math.max(1, total - warm)) }
  },
})

const STYLES = ['constant', 'linear', 'cosine', 'inverse-square-root', 'WSD'] as const
const WSD_STYLES = ['exponential', 'linear', 'cosine', 'minus_sqrt'] as const

/** Up in a line from `init_lr` to `max_lr`, then down to `min_lr` in the style that is asked for. */
export const megatron = scheduler({
  read: (args) => {
    const given = {
      max: args.numberOrNull('max_lr', null, { atLeast: 0 }),
      initial: args.number('init_lr', 0, { atLeast: 0 }),
      least: args.number('min_lr', 0, { atLeast: 0 }),
      warm: args.integer('lr_warmup_steps', 0, { atLeast: 0 }),
      decay: args.integer('lr_decay_steps', undefined, { atLeast: 1 }),
      style: args.choice('lr_decay_style', 'cosine', STYLES),
      wsd: args.integerOrNull('wsd_decay_steps', null, { atLeast: 1 }),
      wsdStyle: args.choice('lr_wsd_decay_style', 'exponential', WSD_STYLES),
    }
    if (given.warm >= given.decay) args.refuse('lr_warmup_steps', `below lr_decay_steps, which is ${given.decay}`)
    if (given.style === 'WSD' && given.wsd === null) args.refuse('wsd_decay_steps', 'given for the style WSD')
    if (given.max !== null && given.least > given.max) args.refuse('min_lr', `at most max_lr, which is ${given.max}`)
    return given
  },
  at: ({ max, initial, least, warm, decay, style, wsd, wsdStyle }, base, step) => {
    const top = max ?? base
    if (warm > 0 && step <= warm) return { learningRate: initial + ((top - initial) * step) / warm }
    if (style === 'constant') return { learningRate: top }
    if (step > decay) return { learningRate: least }
    if (style === 'inverse-square-root') {
      return { learningRate: Math.max(least, (top * Math.sqrt(Math.max(warm, 1))) / Math.sqrt(Math.max(step, 1))) }
    }
    const share =
      style === 'WSD'
        ? annealed(wsdStyle, decay - (wsd ?? decay), step, wsd ?? decay)
        : DOWN[style]((step - warm) / (decay - warm))
    return { learningRate: least + share * (top - least) }
  },
})

const DOWN = {
  linear: (done: number) => 1 - done,
  cosine: (done: number) => 0.5 * (Math.cos(Math.PI * done) + 1),
  exponential: (done: number) => 2 * 0.5 ** done - 1,
  minus_sqrt: (done: number) => 1 - Math.sqrt(done),
}

/** Warm up, stay, decay: 1 until the last `length` steps. */
const annealed = (style: (typeof WSD_STYLES)[number], begin: number, step: number, length: number) =>
  step <= begin ? 1 : DOWN[style]((step - begin) / length)
