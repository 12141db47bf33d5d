// Losses whose gradient at one token depends on the whole sequence. So far GSPO (Zheng et al., "Group Sequence Policy
// Optimization", arXiv 2507.18071) in its token form: the ratio s is that of the sequence, the advantage may differ from token
// to token. Pure numbers in float64, one datum at a time.

import { clamp, finiteExp } from '../catalogue/losses/numbers.ts'
import type { TinkerLossName, TrainingDatum } from './backend.ts'
import type { JointLoss, TinkerLoss } from './losses.ts'
import { clipLimits } from './ratios.ts'

export type SequenceLossName = Extract<TinkerLossName, 'gspo'>

/**
 * Whether a position belongs to what the sampling policy drew. Where no mask says so: a prompt's positions have neither a
 * sampling log-probability nor an advantage.
 */
export function isSampled(datum: TrainingDatum, at: number): boolean {
  const mask = datum.sequence_ratio_mask ?? datum.mask
  if (mask) return mask[at] !== 0
  return (datum.logprobs?.[at] ?? 0) !== 0 || (datum.advantages?.[at] ?? 0) !== 0
}

/** s = exp(mean of p - q over the sampled positions): how much likelier a token of the sequence has become on average. */
export function sequenceRatio(datum: TrainingDatum, logprobs: ArrayLike<number>): number {
  let [sum, count] = [0, 0]
  for (let at = 0; at < datum.tokens.length; at++) {
    if (!isSampled(datum, at)) continue
    sum += (logprobs[at] as number) - (datum.logprobs?.[at] ?? 0)
    count++
  }
  return count ? finiteExp(sum / count) : 1
}

/** Minus the sum of min(s A, clip(s) A). The derivative of s by a token's own p is taken as s: see the paper's section 4.3. */
const gspo: JointLoss & TinkerLoss = {
  name: 'gspo',
  kind: 'sequence',
  required: ['logprobs', 'advantages'],
  optional: ['sequence_ratio_mask'],
  soft: false,
  // As for ppo. The hosted service's own are not public; the paper clips far tighter, at 1 - 3e-4 and 1 + 4e-4.
  config: { clip_low_threshold: 0.8, clip_high_threshold: 1.2 },
  problem({ sequence_ratio_mask: mask, advantages }) {
    if (!mask || mask.some((m) => m !== 0) || advantages?.every((a) => a === 0)) return undefined
    return 'sequence_ratio_mask is 0 everywhere, so the sequence has no ratio; mark the sampled positions with 1'
  },
  joint(datums, logprobs, config) {
    const { low, high } = clipLimits(config)
    let loss = 0
    const slopes = datums.map((datum, i) => {
      const s = sequenceRatio(datum, logprobs[i] as Float64Array)
      const clipped = clamp(s, low, high)
      return Float64Array.from({ length: datum.tokens.length }, (_, at) => {
        const advantage = datum.advantages?.[at] ?? 0
        if (advantage === 0) return 0
        loss -= Math.min(s * advantage, clipped * advantage)
        // Beyond the limit that would be gained by there is no slope.
        return (advantage > 0 ? s <= high : s >= low) ? s * advantage : 0
      })
    })
    return { loss, slopes }
  },
}

export const SEQUENCE_LOSSES: Readonly<Record<SequenceLossName, JointLoss & TinkerLoss>> = { gspo }
