// ReduceLROnPlateau, as torch.optim.lr_scheduler defines it: the rate falls when a number has not become better for a while.
// It is the one scheduler with a memory: what it has seen.

import type { Arguments } from '../arguments.ts'
import type { Numbers } from './scheduler.ts'

export interface PlateauConfig extends Numbers {
  readonly mode: 'min' | 'max'
  readonly factor: number
  readonly patience: number
  readonly threshold: number
  readonly relative: boolean
  readonly cooldown: number
  readonly least: number
  readonly eps: number
}

export interface PlateauMemory {
  readonly learningRate: number
  /** Null: nothing seen yet. */
  readonly best: number | null
  readonly bad: number
  readonly cooling: number
}

export function readPlateau(args: Arguments): PlateauConfig {
  return {
    mode: args.choice('mode', 'min', ['min', 'max']),
    factor: args.number('factor', 0.1, { atLeast: 0, below: 1 }),
    patience: args.integer('patience', 10, { atLeast: 0 }),
    threshold: args.number('threshold', 1e-4, { atLeast: 0 }),
    relative: args.choice('threshold_mode', 'rel', ['rel', 'abs']) === 'rel',
    cooldown: args.integer('cooldown', 0, { atLeast: 0 }),
    least: args.number('min_lr', 0, { atLeast: 0 }),
    eps: args.number('eps', 1e-8, { atLeast: 0 }),
  }
}

export const firstOfPlateau = (learningRate: number): PlateauMemory => ({
  learningRate,
  best: null,
  bad: 0,
  cooling: 0,
})

/** What is remembered after the number `seen`. */
export function nextOfPlateau(config: PlateauConfig, memory: PlateauMemory, seen: number): PlateauMemory {
  const better = isBetter(config, seen, memory.best)
  const best = better ? seen : memory.best
  const isCooling = memory.cooling > 0
  const cooling = isCooling ? memory.cooling - 1 : memory.cooling
  const bad = isCooling || better ? 0 : memory.bad + 1
  if (bad <= config.patience) return { ...memory, best, bad, cooling }
  const lower = Math.max(memory.learningRate * config.factor, config.least)
  const learningRate = memory.learningRate - lower > config.eps ? lower : memory.learningRate
  return { learningRate, best, bad: 0, cooling: config.cooldown }
}

function isBetter({ mode, threshold, relative }: PlateauConfig, seen: number, best: number | null): boolean {
  if (best === null) return true
  if (mode === 'min') return seen < (relative ? best * (1 - threshold) : best - threshold)
  return seen > (relative ? best * (1 + threshold) : best + threshold)
}
