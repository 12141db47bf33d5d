// The three metrics that every adapter has: the loss, how many labels were the likeliest token, and how fast training goes.

import { finite, type MetricMoment, type MetricResult, metric, NO_ARGUMENTS, plus, positions } from './metric.ts'
import { fixed, scientific } from './text.ts'

/** Mean of the losses; of those that are sums, the mean over their tokens. */
export const lossMetric = metric({
  read: NO_ARGUMENTS,
  begin: () => ({ loss: 0, count: 0, tokens: 0 }),
  add: (_, counts, { loss, lossTokens }) =>
    loss === null ? counts : plus(counts, { loss, count: 1, tokens: lossTokens }),
  result: (_, { loss, count, tokens }, { gradientNorm }) => ({
    loss: fixed(count === 0 ? 0 : loss / (tokens > 0 ? tokens : count), 4),
    ...normResult(count > 0 ? gradientNorm : null),
    ...(tokens > 0 && { num_tokens: tokens }),
  }),
})

/** Left out where there was no clipping: a norm of 0 says nothing. */
export const normResult = (norm: number | null): MetricResult =>
  norm !== null && norm > 0 ? { grad_norm: fixed(norm, 6) } : {}

/** Says nothing where no pass told which labels were the likeliest. */
export const accuracy = metric({
  read: NO_ARGUMENTS,
  begin: () => ({ correct: 0, total: 0 }),
  add: (_, counts, { rows, likeliest }) => {
    if (likeliest === undefined) return counts
    const total = rows.reduce((sum, row) => sum + positions(row, () => {}), 0)
    return plus(counts, { correct: likeliest, total })
  },
  result: (_, { correct, total }): MetricResult =>
    total > 0 ? { accuracy: fixed(correct / total, 2), correct_tokens: correct, total_tokens: total } : {},
})

const SECOND = 1000
const MINUTE = 60 * SECOND
/** Two questions in one tick of the clock. */
const SHORTEST = 1

export const trainMetric = metric({
  read: NO_ARGUMENTS,
  begin: ({ now, passes }, before?: { start: number; since: number; passes: number }) => ({
    start: before?.start ?? now,
    since: now,
    passes,
  }),
  add: (_, counts) => counts,
  result: (_, { start, since, passes: before }, moment) => {
    const { now, passes, accumulation } = moment
    const interval = Math.max(SHORTEST, now - since)
    const updates = (passes - before) / accumulation
    const total = now - start
    return {
      ...rates(moment),
      iters: Math.floor(passes / accumulation),
      'total time elapse':
        interval < MINUTE ? `${fixed(total / SECOND, 0)} seconds` : `${fixed(total / MINUTE, 1)} minutes`,
      speed: `${fixed(finite((updates / interval) * SECOND), 2)} iters/s`,
    }
  },
})

function rates({ learningRates }: MetricMoment): MetricResult {
  const texts = learningRates.map((rate) => scientific(rate, 6))
  if (texts.length === 1) return { 'learning rate': texts[0] as string }
  return Object.fromEntries(texts.map((text, i) => [`learning rate(param group ${i + 1})`, text]))
}
