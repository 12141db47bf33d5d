// What a training pass reports besides log-probabilities. Keys are `name:reduction`, one colon: the SDK combines chunks by the
// reduction. Pure numbers over one operation.

import type { TrainingDatum, TrainingItem, TrainingResult } from '../../backends/backend.ts'

/**
 * `loss:sum` for every loss. For losses with a sampling policy q and the trained policy p, over the tokens that q sampled:
 * `kl_sample_train:mean`, the mean of log q - log p (an estimate of KL(q || p)); `ratio_max:max`, the largest p / q; and for
 * losses with thresholds `clip_fraction:mean`, the share of tokens whose ratio is beyond one of them.
 */
export function trainingMetrics(
  { loss, datums }: Pick<TrainingItem, 'loss' | 'datums'>,
  { logprobs, loss: sum }: Pick<TrainingResult, 'logprobs' | 'loss'>,
): Record<string, number> {
  const differences = datums.flatMap((datum, i) => policyDifferences(datum, logprobs[i] ?? new Float32Array()))
  if (!differences.length) return { 'loss:sum': sum }
  const ratios = differences.map((difference) => Math.min(Math.exp(difference), Number.MAX_VALUE))
  const { clip_low_threshold: low, clip_high_threshold: high } = loss.config
  const hasThresholds = low !== undefined && high !== undefined
  return {
    'loss:sum': sum,
    'kl_sample_train:mean': 0 - mean(differences),
    'ratio_max:max': ratios.reduce((a, b) => Math.max(a, b)),
    ...(hasThresholds && { 'clip_fraction:mean': mean(ratios.map((r) => (r < low || r > high ? 1 : 0))) }),
  }
}

/** log p - log q of the sampled tokens. A prompt's positions have neither a sampling log-probability nor an advantage. */
function policyDifferences({ logprobs: sampled, advantages }: TrainingDatum, current: Float32Array): number[] {
  if (!sampled) return []
  const differences: number[] = []
  sampled.forEach((q, i) => {
    if (q !== 0 || (advantages?.[i] ?? 0) !== 0) differences.push((current[i] ?? 0) - q)
  })
  return differences
}

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length
