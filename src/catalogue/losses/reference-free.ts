// Preference losses that need no reference model: SimPO (Meng et al., arXiv 2405.14734), CPO (Xu et al., arXiv 2401.08417)
// and ORPO (Hong et al., arXiv 2403.07691).

import { type JointCatalogueLoss, onlyIgnored } from './loss.ts'
import { logSigmoid, sigmoid } from './numbers.ts'
import { overPairs, PAIR_TRAITS } from './preference.ts'

const BARE = { ...PAIR_TRAITS, required: ['mask'], optional: [] } as const

type SimpoSettings = { readonly beta: number; readonly gamma: number }

export const simpo: JointCatalogueLoss<SimpoSettings> = {
  ...BARE,
  name: 'SimPOLoss',
  key: 'simpo',
  formula: '-log sigmoid(beta (mean p of the preferred - mean p of the other) - gamma); mean of the pairs',
  source: 'arXiv 2405.14734',
  settings(args) {
    onlyIgnored(args)
    return {
      beta: args.number('beta', 2.5, { above: 0 }),
      gamma: args.number('gamma', 0.5),
    }
  },
  joint: (datums, logprobs, { beta, gamma }) =>
    overPairs(
      datums,
      logprobs,
      (w, l) => {
        const margin = beta * (w.sum / w.length - l.sum / l.length) - gamma
        const slope = -beta * sigmoid(-margin)
        return { loss: -logSigmoid(margin), chosen: slope / w.length, rejected: -slope / l.length }
      },
      0,
    ),
}

type CpoSettings = { readonly beta: number; readonly bc_coef: number }

export const cpo: JointCatalogueLoss<CpoSettings> = {
  ...BARE,
  name: 'CPOLoss',
  key: 'cpo',
  formula:
    '-log sigmoid(beta (sum p of the preferred - sum p of the other)); mean of the pairs, plus bc_coef times the mean of ' +
    '-p over the tokens of the preferred answers',
  source: 'arXiv 2401.08417',
  settings(args) {
    onlyIgnored(args)
    return {
      beta: args.number('beta', 0.1, { above: 0 }),
      bc_coef: args.number('bc_coef', 1, { atLeast: 0 }),
    }
  },
  joint: (datums, logprobs, { beta, bc_coef }) =>
    overPairs(
      datums,
      logprobs,
      (w, l) => {
        const margin = beta * (w.sum - l.sum)
        const slope = -beta * sigmoid(-margin)
        return { loss: -logSigmoid(margin), chosen: slope, rejected: -slope }
      },
      bc_coef,
    ),
}

type OrpoSettings = { readonly lambda_orpo: number }

/** A mean log-probability nearer to 0 than this counts as this: the odds of certainty are not finite. */
const MOST_CERTAIN = -1e-7

/** log(exp(x) / (1 - exp(x))) for x < 0, and its derivative. */
function logOdds(x: number): { value: number; slope: number } {
  const near = Math.min(x, MOST_CERTAIN)
  const value = x - Math.log(-Math.expm1(near))
  return { value, slope: x > MOST_CERTAIN ? 1 : -1 / Math.expm1(near) }
}

export const orpo: JointCatalogueLoss<OrpoSettings> = {
  ...BARE,
  name: 'ORPOLoss',
  key: 'orpo',
  formula:
    'mean of -p over the tokens of the preferred answers, plus lambda_orpo times the mean of the pairs of -log sigmoid(log ' +
    'odds of the preferred - log odds of the other), odds = P / (1 - P), P = exp(mean p)',
  source: 'arXiv 2403.07691',
  settings(args) {
    onlyIgnored(args)
    return {
      lambda_orpo: args.number('lambda_orpo', 0.1, { atLeast: 0 }),
    }
  },
  joint: (datums, logprobs, { lambda_orpo }) =>
    overPairs(
      datums,
      logprobs,
      (w, l) => {
        const [good, bad] = [logOdds(w.sum / w.length), logOdds(l.sum / l.length)]
        const margin = good.value - bad.value
        const slope = -lambda_orpo * sigmoid(-margin)
        return {
          loss: -lambda_orpo * logSigmoid(margin),
          chosen: (slope * good.slope) / w.length,
          rejected: (-slope * bad.slope) / l.length,
        }
      },
      1,
    ),
}
