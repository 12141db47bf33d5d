// Direct preference optimisation, Rafailov et al., arXiv 2305.18290, and its kin: hinge (arXiv 2305.10425), IPO (Azar et al.,
// arXiv 2310.12036, equation 17, on sums of log-probabilities), and the pair form of KTO (arXiv 2402.01306, equation 8, with a
// reference point of 0). Label smoothing is that of arXiv 2403.00409.

import { type JointCatalogueLoss, onlyIgnored } from './loss.ts'
import { logSigmoid, sigmoid } from './numbers.ts'
import { type Comparison, overPairs, PAIR_TRAITS } from './preference.ts'

const TYPES = ['sigmoid', 'hinge', 'ipo', 'kto_pair'] as const
type DpoType = (typeof TYPES)[number]

type DpoSettings = {
  readonly beta: number
  readonly label_smoothing: number
  readonly loss_type: DpoType
  /** 1: the reference counts as uniform, and is not read. */
  readonly reference_free: number
  /** Weight of the negative log-likelihood of the preferred answers. */
  readonly sft_weight: number
}

/** From the two log-ratios to the reference, of the preferred answer and of the other. */
const COMPARE: Readonly<Record<DpoType, (a: number, b: number, settings: DpoSettings) => Comparison>> = {
  sigmoid(a, b, { beta, label_smoothing: e }) {
    const margin = beta * (a - b)
    const slope = beta * (e * sigmoid(margin) - (1 - e) * sigmoid(-margin))
    return { loss: -(1 - e) * logSigmoid(margin) - e * logSigmoid(-margin), ...byMargin(slope) }
  },
  hinge(a, b, { beta }) {
    const rest = 1 - beta * (a - b)
    return { loss: Math.max(0, rest), ...byMargin(rest > 0 ? -beta : 0) }
  },
  ipo(a, b, { beta }) {
    const off = a - b - 1 / (2 * beta)
    return { loss: off ** 2, ...byMargin(2 * off) }
  },
  kto_pair(a, b, { beta }) {
    const [good, bad] = [sigmoid(beta * a), sigmoid(beta * b)]
    return { loss: 1 - good + bad, chosen: -beta * good * (1 - good), rejected: beta * bad * (1 - bad) }
  },
}

const byMargin = (slope: number) => ({ chosen: slope, rejected: -slope })

export const dpo: JointCatalogueLoss<DpoSettings> = {
  ...PAIR_TRAITS,
  name: 'DPOLoss',
  key: 'dpo',
  formula:
    'm = beta (a - b), a and b the log-ratios of the answers: sigmoid -(1 - e) log sigmoid(m) - e log sigmoid(-m), e = ' +
    'label_smoothing; hinge max(0, 1 - m); ipo (a - b - 1 / (2 beta))²; kto_pair 1 - sigmoid(beta a) + sigmoid(beta b); ' +
    'mean of the pairs, plus sft_weight times the mean of -p over the tokens of the preferred answers',
  source: 'arXiv 2305.18290, 2310.12036, 2402.01306',
  required: ['mask'],
  optional: ['ref_logps'],
  settings(args) {
    onlyIgnored(args)
    const settings: DpoSettings = {
      beta: args.number('beta', 0.1, { above: 0 }),
      label_smoothing: args.number('label_smoothing', 0, { atLeast: 0, atMost: 0.5 }),
      loss_type: args.choice('loss_type', 'sigmoid', TYPES),
      reference_free: Number(args.boolean('reference_free', false)),
      sft_weight: args.number('sft_weight', 0, { atLeast: 0 }),
    }
    if (settings.label_smoothing > 0 && settings.loss_type !== 'sigmoid') {
      args.refuse('label_smoothing', `0 with loss_type "${settings.loss_type}": only "sigmoid" has smoothed labels`)
    }
    return settings
  },
  problem: ({ ref_logps }, { reference_free }) =>
    ref_logps || reference_free
      ? undefined
      : 'ref_logps is missing; give the log-probabilities of the reference model, or set reference_free',
  joint: (datums, logprobs, settings) =>
    overPairs(
      datums,
      logprobs,
      (chosen, rejected) => {
        const [a, b] = [chosen, rejected].map(({ sum, reference }) => sum - (settings.reference_free ? 0 : reference))
        return COMPARE[settings.loss_type](a as number, b as number, settings)
      },
      settings.sft_weight,
    ),
}
