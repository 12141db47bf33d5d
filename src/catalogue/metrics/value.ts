// What a critic is steered by: its values against the returns, and how many of them moved further than they may. Explained
// variance is 1 - Var(return - value) / Var(return), over all tokens since the last result.

import { type MetricResult, metric, onlyIgnoreIndex, plus, positions } from './metric.ts'

/** Sums of numbers and of their squares, from which means and variances come. */
const NOTHING = {
  ...{ tokens: 0, values: 0, returns: 0, returns2: 0, errors: 0, errors2: 0, clipped: 0 },
  ...{ judged: 0, advantages: 0, advantages2: 0 },
}
const SMALLEST_VARIANCE = 1e-8

export const ppoValueMetric = metric({
  read: (args) => {
    onlyIgnoreIndex(args)
    return { epsilon: args.number('epsilon', 0.2, { atLeast: 0 }) }
  },
  begin: () => NOTHING,
  add: ({ epsilon }, counts, { rows }) => {
    const sums = { ...NOTHING }
    for (const row of rows) {
      const { values, old_values: old, returns, advantages } = row
      if (!values || !old || !returns) continue
      sums.tokens += positions(row, (i) => {
        const [value, target] = [values[i] ?? 0, returns[i] ?? 0]
        sums.values += value
        sums.returns += target
        sums.returns2 += target ** 2
        sums.errors += target - value
        sums.errors2 += (target - value) ** 2
        if (Math.abs(value - (old[i] ?? 0)) > epsilon) sums.clipped++
        if (!advantages) return
        sums.judged++
        sums.advantages += advantages[i] ?? 0
        sums.advantages2 += (advantages[i] ?? 0) ** 2
      })
    }
    return plus(counts, sums)
  },
  result: (_, sums): MetricResult => {
    const { tokens, judged } = sums
    if (tokens === 0) return {}
    const spread = Math.max(SMALLEST_VARIANCE, variance(tokens, sums.returns, sums.returns2))
    return {
      'train/value_mean': sums.values / tokens,
      'train/return_mean': sums.returns / tokens,
      'train/value_clip_ratio': sums.clipped / tokens,
      'train/explained_variance': 1 - variance(tokens, sums.errors, sums.errors2) / spread,
      ...(judged > 0 && {
        'train/advantage_mean': sums.advantages / judged,
        'train/advantage_std': Math.sqrt(variance(judged, sums.advantages, sums.advantages2)),
      }),
    }
  },
})

const variance = (count: number, sum: number, squares: number) => Math.max(0, squares / count - (sum / count) ** 2)
