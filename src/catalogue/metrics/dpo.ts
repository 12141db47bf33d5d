// What preference training is steered by: log-probabilities of chosen and rejected answers, and the rewards that they imply,
// beta (log p - log p_ref). Rafailov et al., "Direct preference optimization", 2023, section 4. Rows come in pairs, the
// chosen answer first.

import { type MetricResult, type MetricRow, metric, onlyIgnoreIndex, plus, sumOver } from './metric.ts'
import { fixed } from './text.ts'

const NOTHING = {
  ...{ pairs: 0, chosen: 0, rejected: 0, refPairs: 0, refChosen: 0, refRejected: 0 },
  ...{ chosenReward: 0, rejectedReward: 0, margin: 0, correct: 0 },
}

export const dpoMetric = metric({
  read: (args) => {
    onlyIgnoreIndex(args)
    return { beta: args.number('beta', 0.1) }
  },
  begin: () => NOTHING,
  add: ({ beta }, counts, { rows }) => {
    let sums = counts
    for (let i = 0; i + 1 < rows.length; i += 2)
      sums = plus(sums, ofPair(beta, rows[i] as MetricRow, rows[i + 1] as MetricRow))
    return sums
  },
  result: (_, counts): MetricResult => {
    const { pairs, refPairs } = counts
    if (pairs === 0) return {}
    const mean = (key: keyof typeof NOTHING, digits: number) => fixed(counts[key] / pairs, digits)
    const policy = { 'logps/chosen': mean('chosen', 2), 'logps/rejected': mean('rejected', 2) }
    if (refPairs === 0) return policy
    return {
      ...policy,
      'logps/ref_chosen': mean('refChosen', 2),
      'logps/ref_rejected': mean('refRejected', 2),
      'rewards/chosen': mean('chosenReward', 4),
      'rewards/rejected': mean('rejectedReward', 4),
      'rewards/margins': mean('margin', 4),
      'rewards/accuracies': `${fixed((counts.correct / pairs) * 100, 1)}%`,
    }
  },
  problem: (rows) => (rows % 2 === 0 ? undefined : `pairs of rows, chosen and rejected in turn, not ${rows} rows`),
})

function ofPair(beta: number, chosen: MetricRow, rejected: MetricRow): Partial<typeof NOTHING> {
  const [up, down] = [sumOver(chosen, chosen.logps), sumOver(rejected, rejected.logps)]
  const policy = { pairs: 1, chosen: up, rejected: down }
  if (!chosen.ref_logps || !rejected.ref_logps) return policy
  const [refUp, refDown] = [sumOver(chosen, chosen.ref_logps), sumOver(rejected, rejected.ref_logps)]
  const [chosenReward, rejectedReward] = [beta * (up - refUp), beta * (down - refDown)]
  const margin = chosenReward - rejectedReward
  return {
    ...{ ...policy, refPairs: 1, refChosen: refUp, refRejected: refDown },
    ...{ chosenReward, rejectedReward, margin, correct: margin > 0 ? 1 : 0 },
  }
}
