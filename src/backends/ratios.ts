// Importance ratios: how much likelier the trained policy makes a token than the one that sampled it, and the limits that
// losses clip them to. Plain numbers.

import type { LossSpec } from './backend.ts'

/** exp(x), kept finite: times an advantage of 0 it must give 0. */
export const finiteExp = (x: number): number => Math.min(Math.exp(x), Number.MAX_VALUE)

export const clamp = (x: number, low: number, high: number): number => Math.min(Math.max(x, low), high)

/** The thresholds of a loss that clips; both are ratios around 1. */
export const clipLimits = (config: LossSpec['config']): { low: number; high: number } => ({
  low: config.clip_low_threshold as number,
  high: config.clip_high_threshold as number,
})
