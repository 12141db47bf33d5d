// Cosine annealing, as torch.optim.lr_scheduler defines it. Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm
// restarts", 2017.

import { alongCosine, scheduler } from './scheduler.ts'

/** Down to `eta_min` in `T_max` steps, up again in as many, and so on. */
export const cosineAnnealingLR = scheduler({
  read: (args) => ({
    period: args.integer('T_max', undefined, { atLeast: 1 }),
    least: args.number('eta_min', 0, { atLeast: 0 }),
  }),
  at: ({ period, least }, base, step) => ({ learningRate: alongCosine(base, least, step / period) }),
})

/** Down in `T_0` steps, then anew from the top, each time in `T_mult` times as many. */
export const cosineAnnealingWarmRestarts = scheduler({
  read: (args) => ({
    first: args.integer('T_0', undefined, { atLeast: 1 }),
    times: args.integer('T_mult', 1, { atLeast: 1 }),
    least: args.number('eta_min', 0, { atLeast: 0 }),
  }),
  at: ({ first, times, least }, base, step) => {
    const { done, length } = roundOf(first, times, step)
    return { learningRate: alongCosine(base, least, done / length) }
  },
})

/** Steps done in the present round, and how many it has. */
function roundOf(first: number, times: number, step: number): { done: number; length: number } {
  if (times === 1) return { done: step % first, length: first }
  let [done, length] = [step, first]
  while (done >= length) {
    done -= length
    length *= times
  }
  return { done, length }
}
