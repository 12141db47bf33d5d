// What the losses of the GRPO family share: settings, the importance ratio against the policy that sampled (old_logps), the
// penalty that keeps the policy near a frozen reference (ref_logps), and the reward for entropy. The penalty is the k3
// estimate of KL(policy || reference): Schulman, "Approximating KL Divergence" (2020), and arXiv 2402.03300, equation 4.

import type { Arguments } from '../arguments.ts'
import { type LossDatum, onlyIgnored, type Settings, type Target } from './loss.ts'
import { clamp, type LossNumbers, liftOf, NEUTRAL } from './numbers.ts'

export type PolicySettings = {
  /** The ratio is clipped to [1 - epsilon, 1 + epsilon_high]. */
  readonly epsilon: number
  readonly epsilon_high: number
  /** Weight of the penalty; 0 = there is none, and no reference is read. */
  readonly beta: number
  readonly entropy_coef: number
}

export function policySettings(args: Arguments): PolicySettings {
  onlyIgnored(args)
  const epsilon = args.number('epsilon', 0.2, { atLeast: 0 })
  return {
    epsilon,
    epsilon_high: args.numberOrNull('epsilon_high', null, { atLeast: 0 }) ?? epsilon,
    beta: args.number('beta', 0, { atLeast: 0 }),
    entropy_coef: args.number('entropy_coef', 0, { atLeast: 0 }),
  }
}

export const POLICY_TRAITS = {
  required: ['mask', 'advantages'],
  optional: ['logprobs', 'ref_logps'],
  soft: false,
  reduction: (): 'mean' => 'mean',
  problem: ({ ref_logps }: LossDatum, { beta }: PolicySettings) =>
    beta > 0 && !ref_logps
      ? `ref_logps is missing; with beta ${beta} the loss needs the log-probabilities of the reference model`
      : undefined,
  entropyWeight: ({ entropy_coef }: PolicySettings) => entropy_coef,
} as const

/** log r is cut off here, where it has no slope either: exp of it is a finite float32, whatever the policies. */
const MOST_LOG_RATIO = 20
export const [LEAST_RATIO, MOST_RATIO] = [Math.exp(-MOST_LOG_RATIO), Math.exp(MOST_LOG_RATIO)]

/** log r of one position. */
export const logRatio = (p: number, old: number): number => clamp(p - old, -MOST_LOG_RATIO, MOST_LOG_RATIO)

export const ratioOf = (p: number, { old, isOnPolicy }: Target): number => (isOnPolicy ? 1 : Math.exp(logRatio(p, old)))

/** beta (exp(ref - p) - (ref - p) - 1). */
export function penalty(p: number, reference: number, beta: number): number {
  return beta === 0 ? 0 : beta * (liftOf(p, reference) - (reference - p) - 1)
}

/** d(-penalty)/dp. */
export const penaltySlope = (p: number, reference: number, beta: number): number =>
  beta === 0 ? 0 : beta * (liftOf(p, reference) - 1)

/** The penalty beside the numbers of the rest of a token loss. */
export const withPenalty = (
  n: LossNumbers,
  { reference = 0 }: Target,
  { beta }: Settings & { beta: number },
): LossNumbers => (beta === 0 ? n : { ...n, linear: n.linear - beta, ref: reference, lift: beta })

/** The numbers of A r where r is 1, with its slope. */
export const onPolicy = (advantage: number): LossNumbers => ({ ...NEUTRAL, linear: advantage })
