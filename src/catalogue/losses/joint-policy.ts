// SAPO (arXiv 2511.20347) and GSPO (Zheng et al., arXiv 2507.18071): policy losses whose slopes are not of the few forms that
// an engine takes in one pass. SAPO bends the ratio smoothly where others clip it. GSPO has one ratio a sequence, the
// geometric mean of its tokens' ratios, so that each token's slope is that of all.

import type { JointCatalogueLoss, JointOutcome, LossDatum } from './loss.ts'
import { clamp, sigmoid } from './numbers.ts'
import {
  logRatio,
  POLICY_TRAITS,
  type PolicySettings,
  penalty,
  penaltySlope,
  policySettings,
  ratioOf,
} from './policy.ts'
import { counted, sequenceMean } from './shares.ts'

/** What the terms of one sequence come to: per position the value, and d(-value)/dp of the sequence's weighed sum. */
interface Terms {
  readonly value: number
  readonly slopes: Float64Array
}

/** Adds up sequences and, position by position, the penalty against the reference. */
function overSequences(
  datums: readonly LossDatum[],
  logprobs: readonly Float64Array[],
  { beta }: PolicySettings,
  terms: (datum: LossDatum, logprobs: Float64Array, shares: Float64Array) => Terms,
): JointOutcome {
  let loss = 0
  const shares = sequenceMean(datums)
  const slopes = datums.map((datum, i) => {
    const [own, share] = [logprobs[i] as Float64Array, shares[i] as Float64Array]
    const found = terms(datum, own, share)
    loss += found.value
    return found.slopes.map((slope, at) => {
      const [weight, p, reference] = [share[at] as number, own[at] as number, datum.ref_logps?.[at] ?? 0]
      if (weight === 0) return 0
      loss += weight * penalty(p, reference, beta)
      return slope + weight * penaltySlope(p, reference, beta)
    })
  })
  return { loss, slopes }
}

type SapoSettings = PolicySettings & { readonly tau_pos: number; readonly tau_neg: number }

export const sapo: JointCatalogueLoss<SapoSettings> = {
  ...POLICY_TRAITS,
  name: 'SAPOLoss',
  key: 'sapo',
  kind: 'sequence',
  formula:
    '-4 / tau sigmoid(tau (r - 1)) A + beta k3 - entropy_coef H, tau = tau_pos where A > 0, else tau_neg; ' +
    'mean of each sequence, then of the sequences',
  source: 'arXiv 2511.20347',
  settings: (args) => ({
    ...policySettings(args),
    tau_pos: args.number('tau_pos', 1, { above: 0 }),
    tau_neg: args.number('tau_neg', 1, { above: 0 }),
  }),
  shares: sequenceMean,
  joint: (datums, logprobs, s) =>
    overSequences(datums, logprobs, s, (datum, own, shares) => {
      let value = 0
      const slopes = own.map((p, at) => {
        const advantage = datum.advantages?.[at] ?? 0
        const share = shares[at] as number
        if (share === 0 || advantage === 0) return 0
        const old = datum.logprobs?.[at] ?? p
        const r = ratioOf(p, { old, advantage })
        const tau = advantage > 0 ? s.tau_pos : s.tau_neg
        const gate = sigmoid(tau * (r - 1))
        value -= share * (4 / tau) * gate * advantage
        return isCut(p, old) ? 0 : share * 4 * gate * (1 - gate) * r * advantage
      })
      return { value, slopes }
    }),
}

export const gspo: JointCatalogueLoss<PolicySettings> = {
  ...POLICY_TRAITS,
  name: 'GSPOLoss',
  key: 'gspo',
  kind: 'sequence',
  formula:
    '-min(s A, clip(s, 1 - epsilon, 1 + epsilon_high) A) + beta k3 - entropy_coef H, s = exp(mean of log r over the ' +
    'sequence); mean of each sequence, then of the sequences',
  source: 'arXiv 2507.18071',
  settings: policySettings,
  shares: sequenceMean,
  joint: (datums, logprobs, settings) =>
    overSequences(datums, logprobs, settings, (datum, own, shares) => {
      const length = Math.max(1, counted(datum))
      const oldOf = (at: number) => datum.logprobs?.[at] ?? (own[at] as number)
      const meanLog = own.reduce((sum, p, at) => sum + (datum.mask?.[at] ? logRatio(p, oldOf(at)) : 0), 0) / length
      const s = Math.exp(meanLog)
      const clipped = clamp(s, 1 - settings.epsilon, 1 + settings.epsilon_high)
      let [value, slopeOfMean] = [0, 0]
      shares.forEach((share, at) => {
        const advantage = datum.advantages?.[at] ?? 0
        if (share === 0 || advantage === 0) return
        value -= share * Math.min(s * advantage, clipped * advantage)
        if (advantage > 0 ? s <= 1 + settings.epsilon_high : s >= 1 - settings.epsilon) {
          slopeOfMean += share * s * advantage
        }
      })
      // Every token's log-ratio moves the mean by its part of the length.
      const slopes = own.map((p, at) => (datum.mask?.[at] && !isCut(p, oldOf(at)) ? slopeOfMean / length : 0))
      return { value, slopes }
    }),
}

/** The ratio is at one of its ends, where it has no slope. */
const isCut = (p: number, old: number) => logRatio(p, old) !== p - old
