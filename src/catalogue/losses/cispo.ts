// CISPO: MiniMax-M1, arXiv 2506.13585, equations 4 and 5. The ratio weighs the policy gradient; it is limited from above and
// held constant, so that no token is ever without a slope.

import type { TokenCatalogueLoss } from './loss.ts'
import { NEUTRAL } from './numbers.ts'
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
import { tokenMean } from './shares.ts'

const limit = ({ epsilon_high }: PolicySettings) => Math.min(1 + epsilon_high, MOST_RATIO)

export const cispo: TokenCatalogueLoss<PolicySettings> = {
  ...POLICY_TRAITS,
  name: 'CISPOLoss',
  key: 'cispo',
  kind: 'token',
  formula: '-sg(min(r, 1 + epsilon_high)) A p + beta k3 - entropy_coef H; mean over all tokens',
  source: 'arXiv 2506.13585',
  settings: policySettings,
  shares: tokenMean,
  value(p, x, s) {
    const weighed = x.advantage === 0 ? 0 : Math.min(ratioOf(p, x), limit(s)) * x.advantage * p
    return penalty(p, x.reference ?? 0, s.beta) - weighed
  },
  numbers(x, s) {
    const { old, advantage } = x
    const rest = x.isOnPolicy
      ? onPolicy(advantage)
      : { ...NEUTRAL, old, ratio: advantage, low: LEAST_RATIO, high: limit(s) }
    return withPenalty(rest, x, s)
  },
}
