// Schedulers that multiply the learning rate by a factor of the step: steps, lines, powers. As torch.optim.lr_scheduler
// defines them.

import { scheduler } from './scheduler.ts'

const times = (base: number, factor: number) => ({ learningRate: base * factor })

/** `factor` for so many steps, then 1. */
export const constantLR = scheduler({
  read: (args) => ({
    factor: args.number('factor', 1 / 3, { atLeast: 0, atMost: 1 }),
    total: args.integer('total_iters', 5, { atLeast: 1 }),
  }),
  at: ({ factor, total }, base, step) => times(base, step < total ? factor : 1),
})

/** From one factor to the other in a line, then constant. */
export const linearLR = scheduler({
  read: (args) => ({
    start: args.number('start_factor', 1 / 3, { above: 0, atMost: 1 }),
    end: args.number('end_factor', 1, { atLeast: 0, atMost: 1 }),
    total: args.integer('total_iters', 5, { atLeast: 1 }),
  }),
  at: ({ start, end, total }, base, step) => times(base, start + ((end - start) * Math.min(step, total)) / total),
})

/** Multiplied by `gamma` at every `step_size`-th step. */
export const stepLR = scheduler({
  read: (args) => ({
    size: args.integer('step_size', undefined, { atLeast: 1 }),
    gamma: args.number('gamma', 0.1, { atLeast: 0 }),
  }),
  at: ({ size, gamma }, base, step) => times(base, gamma ** Math.floor(step / size)),
})

/** Multiplied by `gamma` at each milestone; one that is named twice counts twice. */
export const multiStepLR = scheduler({
  read: (args) => {
    const milestones = args.numbers('milestones', undefined, { atLeast: 0 })
    if (!milestones.every(Number.isInteger)) args.refuse('milestones', 'a list of whole numbers')
    return { milestones, gamma: args.number('gamma', 0.1, { atLeast: 0 }) }
  },
  at: ({ milestones, gamma }, base, step) => times(base, gamma ** milestones.filter((at) => at <= step).length),
})

export const exponentialLR = scheduler({
  read: (args) => ({ gamma: args.number('gamma', undefined, { atLeast: 0 }) }),
  at: ({ gamma }, base, step) => times(base, gamma ** step),
})

/** (1 - step / total) to a power, then 0. */
export const polynomialLR = scheduler({
  read: (args) => ({
    total: args.integer('total_iters', 5, { atLeast: 1 }),
    power: args.number('power', 1, { atLeast: 0 }),
  }),
  at: ({ total, power }, base, step) => times(base, (1 - Math.min(step, total) / total) ** power),
})
