// The limits that losses of the Tinker wire clip importance ratios to: how much likelier the trained policy makes a token than
// the one that sampled it. Plain numbers.

import type { LossSpec } from './backend.ts'

/** The thresholds of a loss that clips; both are ratios around 1. */
export const clipLimits = (config: LossSpec['config']): { low: number; high: number } => ({
  low: config.clip_low_threshold as number,
  high: config.clip_high_threshold as number,
})
