// What the losses over pairs share. Datums alternate: the preferred answer, then the other one. Each loss is a function of
// the two answers' summed log-probabilities, averaged over the pairs, and may add the negative log-likelihood of the
// preferred answers, averaged over their tokens. Knows pairs and sums; knows no loss.

import type { JointOutcome, LossDatum } from './loss.ts'
import { counted, tokenMean } from './shares.ts'

/** One answer: sums over the positions that count. */
export interface Answer {
  readonly sum: number
  readonly reference: number
  /** At least 1. */
  readonly length: number
}

export interface Comparison {
  readonly loss: number
  /** d(loss) by the sum of the preferred answer, and by that of the other. */
  readonly chosen: number
  readonly rejected: number
}

export const PAIR_TRAITS = {
  kind: 'pair',
  soft: false,
  reduction: (): 'mean' => 'mean',
  problemOfAll: (datums: readonly LossDatum[]) =>
    datums.length % 2
      ? `the loss compares pairs, the preferred answer first, but there are ${datums.length} datums`
      : undefined,
  // The losses count pairs, not tokens: shares are for what is counted alone.
  shares: tokenMean,
} as const

export function overPairs(
  datums: readonly LossDatum[],
  logprobs: readonly Float64Array[],
  compare: (chosen: Answer, rejected: Answer) => Comparison,
  likelihoodWeight: number,
): JointOutcome {
  const pairs = datums.length / 2
  const preferred = datums.filter((_, i) => i % 2 === 0)
  const perToken =
    likelihoodWeight /
    Math.max(
      1,
      preferred.reduce((sum, d) => sum + counted(d), 0),
    )
  let loss = 0
  const slopes: Float64Array[] = []
  for (let i = 0; i < datums.length; i += 2) {
    const [chosen, rejected] = [answerOf(datums, logprobs, i), answerOf(datums, logprobs, i + 1)]
    const found = compare(chosen, rejected)
    loss += found.loss / pairs - perToken * chosen.sum
    slopes.push(spread(datums[i], perToken - found.chosen / pairs), spread(datums[i + 1], -found.rejected / pairs))
  }
  return { loss, slopes }
}

function answerOf(datums: readonly LossDatum[], logprobs: readonly Float64Array[], index: number): Answer {
  const datum = datums[index] as LossDatum
  const over = (values: ArrayLike<number> | undefined) =>
    datum.mask?.reduce((sum, m, at) => (m ? sum + (values?.[at] ?? 0) : sum), 0) ?? 0
  return { sum: over(logprobs[index]), reference: over(datum.ref_logps), length: Math.max(1, counted(datum)) }
}

/** The same slope for every position that counts. */
const spread = (datum: LossDatum | undefined, slope: number) => Float64Array.from(datum?.mask ?? [], (m) => m * slope)
