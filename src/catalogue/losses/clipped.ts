// The clipped surrogate of PPO (Schulman et al., arXiv 1707.06347, equation 7) and the four losses that are its means:
// GRPO (arXiv 2402.03300), PPO, BNPO and Dr. GRPO (arXiv 2503.20783). They differ in how tokens are weighed against each other.

import type { LossDatum, Target, TokenCatalogueLoss } from './loss.ts'
import { clamp, NEUTRAL } from './numbers.ts'
import {
  LEAST_RATIO,
  MOST_RATIO,
  onPolicy,
  POLICY_TRAITS,
  type PolicySettings,
  penalty,
  policySettings,
  ratioOf,
  withPenalty,
} from './policy.ts'
import { constantLength, sequenceMean, tokenMean } from './shares.ts'

const FORMULA = '-min(r A, clip(r, 1 - epsilon, 1 + epsilon_high) A) + beta k3 - entropy_coef H'

const CLIPPED = {
  ...POLICY_TRAITS,
  kind: 'token',
  value(p: number, x: Target, s: PolicySettings) {
    const r = ratioOf(p, x)
    const clipped = clamp(r, 1 - s.epsilon, 1 + s.epsilon_high)
    return penalty(p, x.reference ?? 0, s.beta) - Math.min(r * x.advantage, clipped * x.advantage)
  },
  // Beyond the limit that would be gained by, the clipped branch is the smaller one and has no slope.
  numbers(x: Target, s: PolicySettings) {
    const { old, advantage } = x
    if (x.isOnPolicy) return withPenalty(onPolicy(advantage), x, s)
    const gates =
      advantage >= 0
        ? { gateLow: LEAST_RATIO, gateHigh: Math.min(1 + s.epsilon_high, MOST_RATIO) }
        : { gateLow: Math.max(1 - s.epsilon, LEAST_RATIO), gateHigh: MOST_RATIO }
    return withPenalty({ ...NEUTRAL, old, ratio: advantage, ...gates }, x, s)
  },
} as const

export const grpo: TokenCatalogueLoss<PolicySettings> = {
  ...CLIPPED,
  name: 'GRPOLoss',
  key: 'grpo',
  formula: `${FORMULA}; mean of each sequence, then of the sequences`,
  source: 'arXiv 2402.03300',
  settings: policySettings,
  shares: sequenceMean,
}

const MODES = ['token-mean', 'seq-mean-token-mean'] as const
type PpoSettings = PolicySettings & { readonly loss_agg_mode: (typeof MODES)[number] }

export const ppo: TokenCatalogueLoss<PpoSettings> = {
  ...CLIPPED,
  name: 'PPOLoss',
  key: 'ppo',
  formula: `${FORMULA}; mean over all tokens, or as GRPOLoss with "seq-mean-token-mean"`,
  source: 'arXiv 1707.06347',
  settings: (args) => ({ ...policySettings(args), loss_agg_mode: args.choice('loss_agg_mode', 'token-mean', MODES) }),
  shares: (datums, s) => (s.loss_agg_mode === 'token-mean' ? tokenMean(datums) : sequenceMean(datums)),
}

export const bnpo: TokenCatalogueLoss<PolicySettings> = {
  ...CLIPPED,
  name: 'BNPOLoss',
  key: 'bnpo',
  formula: `${FORMULA}; mean over all tokens`,
  source: 'arXiv 2503.14476, equation 8',
  settings: policySettings,
  shares: tokenMean,
}

type DrGrpoSettings = PolicySettings & { readonly max_completion_length: number }

export const drGrpo: TokenCatalogueLoss<DrGrpoSettings> = {
  ...CLIPPED,
  name: 'DRGRPOLoss',
  key: 'dr_grpo',
  formula: `${FORMULA}; sum over max_completion_length, then mean of the sequences`,
  source: 'arXiv 2503.20783',
  settings: (args) => ({
    ...policySettings(args),
    max_completion_length: args.integer('max_completion_length', 1024, { atLeast: 1 }),
  }),
  shares: (datums: readonly LossDatum[], s) => constantLength(datums, s.max_completion_length),
}
