// What a loss says of an operation whose targets have been scored: its value, and the slopes that a backward pass begins with.
// For engines that score an operation as a whole before they go backward, which every kind of loss but those of embeddings
// allows. All in float64. Knows no model, no tokens and no gradients of weights.

import { lossSlope, scaled } from '../catalogue/losses/numbers.ts'
import type { LossSpec, TrainingDatum } from './backend.ts'
import { engineError } from './engine-errors.ts'
import { entropyWeightOf, lossOf, type TokenLoss, targetInputs } from './losses.ts'

/** What the model makes of an operation, one array a datum. */
export interface Scores {
  /** [N, width]: log p of each target. */
  readonly logprobs: readonly Float64Array[]
  /** [N]: entropy in nats of each position's distribution. Needed where `needsOf(loss)` has `entropy`. */
  readonly entropies?: readonly Float64Array[]
}

export interface EvaluatedLoss {
  readonly loss: number
  /** Per datum [N, width]: d(-loss)/d(log p of the target). */
  readonly slopes: readonly Float64Array[]
  /** Per datum [N]: d(-loss)/d(entropy of the position). Absent where the loss does not read entropies. */
  readonly entropySlopes?: readonly Float64Array[]
}

/** The datums must have passed `checkDatums`. Throws UNSUPPORTED_LOSS for losses of embeddings. */
export function evaluateLoss(loss: LossSpec, datums: readonly TrainingDatum[], scores: Scores): EvaluatedLoss {
  const rule = lossOf(loss.name)
  if (rule.kind === 'embedding') {
    throw engineError(
      'UNSUPPORTED_LOSS',
      `loss ${loss.name} compares embeddings; it cannot be told from log-probabilities`,
    )
  }
  const shares = rule.shares?.(datums, loss.config)
  const plain =
    rule.kind === 'token'
      ? evaluateTokens(rule, loss.config, datums, scores.logprobs, shares)
      : rule.joint(datums, scores.logprobs, loss.config)
  const weight = entropyWeightOf(loss)
  if (weight === 0) return plain
  const { entropies } = scores
  if (!entropies) throw new TypeError(`loss ${loss.name} reads entropies, and none were given`)
  const entropySlopes = datums.map(({ tokens }, i) =>
    Float64Array.from(tokens, (_, at) => weight * (shares?.[i]?.[at] ?? 1)),
  )
  const bonus = entropySlopes.reduce(
    (sum, row, i) => sum + row.reduce((s, w, at) => s + w * (entropies[i]?.[at] ?? 0), 0),
    0,
  )
  return { ...plain, loss: plain.loss - bonus, entropySlopes }
}

function evaluateTokens(
  rule: TokenLoss,
  config: LossSpec['config'],
  datums: readonly TrainingDatum[],
  logprobs: readonly Float64Array[],
  shares: readonly Float64Array[] | undefined,
): EvaluatedLoss {
  let loss = 0
  const slopes = datums.map((datum, i) =>
    (logprobs[i] as Float64Array).map((p, cell) => {
      const position = Math.floor(cell / datum.width)
      const share = shares ? (shares[i]?.[position] ?? 0) : 1
      if (share === 0) return 0
      const inputs = targetInputs(datum, position, cell % datum.width)
      loss += share * rule.value(p, inputs, config)
      return lossSlope(p, scaled(rule.numbers(inputs, config), share))
    }),
  )
  return { loss, slopes }
}
