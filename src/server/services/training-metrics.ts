// What a training pass reports besides log-probabilities, and what an optimiser step reports. Keys are `name:reduction`, one
// colon: the SDK combines chunks by the reduction. Pure numbers over one operation.

import type { LossName, OptimResult, TrainingDatum, TrainingItem, TrainingResult } from '../../backends/backend.ts'
import { isSampled, sequenceRatio } from '../../backends/sequence-losses.ts'
import { finiteExp } from '../../catalogue/losses/numbers.ts'

/**
 * `loss:sum` for every loss; `likeliest:sum` where labels have a mask, as those of Twinkle's catalogue have: how many were the
 * likeliest token. For losses with a sampling policy q and the trained policy p, over the tokens that q sampled:
 * `kl_sample_train:mean`, the mean of log q - log p (an estimate of KL(q || p)); `ratio_max:max`, the largest ratio that the
 * loss looks at, which is p / q of a token or, for sequence losses, that of its whole sequence; and for losses with
 * thresholds `clip_fraction:mean`, the share of tokens whose ratio is beyond one of them.
 */
export function trainingMetrics(
  { loss, datums }: Pick<TrainingItem, 'loss' | 'datums'>,
  result: Pick<TrainingResult, 'logprobs' | 'loss' | 'likeliest'>,
): Record<string, number> {
  const { logprobs, loss: sum, likeliest } = result
  const counts = likeliest === undefined ? {} : { 'likeliest:sum': likeliest }
  const tokens = datums.flatMap((datum, i) => sampledTokens(datum, logprobs[i] ?? new Float32Array(), loss))
  if (!tokens.length) return { 'loss:sum': sum, ...counts }
  const { clip_low_threshold: low, clip_high_threshold: high } = loss.config
  const hasThresholds = typeof low === 'number' && typeof high === 'number'
  return {
    'loss:sum': sum,
    ...counts,
    'kl_sample_train:mean': 0 - mean(tokens.map(({ difference }) => difference)),
    'ratio_max:max': tokens.reduce((max, { ratio }) => Math.max(max, ratio), 0),
    ...(hasThresholds && { 'clip_fraction:mean': mean(tokens.map(({ ratio: r }) => (r < low || r > high ? 1 : 0))) }),
  }
}

/** Not `step`: scripts merge these into their own metrics, in which that key is the step of their loop. */
export function stepMetrics({ gradientNorm, step, applied }: OptimResult): Record<string, number> {
  return { grad_norm: gradientNorm, optimizer_step: step, applied: applied ? 1 : 0 }
}

/** How many targets a loss counts: those of a weight that is not 0, or of positions that its mask lets count. */
export function targetsOf(datums: readonly TrainingDatum[]): number {
  return datums.reduce((sum, { targets, weights, mask }) => {
    return sum + ((weights ?? mask)?.filter((w) => w !== 0).length ?? targets.length)
  }, 0)
}

/** Losses whose ratio is that of a whole sequence. */
const SEQUENCE_RATIO: readonly LossName[] = ['gspo', 'GSPOLoss']

/** log p - log q of each token that q sampled, and the ratio that the loss makes of it. */
function sampledTokens(datum: TrainingDatum, current: Float32Array, loss: TrainingItem['loss']) {
  const { logprobs: sampled } = datum
  if (!sampled) return []
  const ofSequence = SEQUENCE_RATIO.includes(loss.name) ? sequenceRatio(datum, current) : undefined
  const tokens: { difference: number; ratio: number }[] = []
  sampled.forEach((q, i) => {
    if (!isSampled(datum, i)) return
    const difference = (current[i] ?? 0) - q
    tokens.push({ difference, ratio: ofSequence ?? finiteExp(difference) })
  })
  return tokens
}

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length
