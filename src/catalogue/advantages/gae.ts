// Generalized advantage estimation over the tokens of answers that end: Schulman et al. 2015 (arXiv:1506.02438).
// delta_t = r_t + gamma V_(t+1) - V_t; A_t = delta_t + gamma lambda A_(t+1); nothing comes after the last token.

import { invalidArgument } from '../catalogue-error.ts'
import { deviation, EPSILON, mean } from './statistics.ts'

interface GAEOptions {
  /** In [0, 1]. Default 1. */
  readonly gamma?: number
  /** In [0, 1]. Default 0.95. */
  readonly gaeLambda?: number
  /** Shift and scale all advantages of the batch to mean 0 and deviation 1. Default true. */
  readonly normalize?: boolean
  /** Per row and token: false leaves a token out, as if it were not there. */
  readonly masks?: readonly (readonly boolean[])[]
}

interface AdvantagesAndReturns {
  /** Per row and token; 0 where masked out. */
  readonly advantages: number[][]
  /** Advantage (before it is normalised) + value: what a value model learns. */
  readonly returns: number[][]
}

/** @param rewards Per row and token. @param values Likewise. Throws CatalogueError INVALID_ARGUMENT. */
export function GAEAdvantage(
  rewards: readonly (readonly number[])[],
  values: readonly (readonly number[])[],
  { gamma = 1, gaeLambda = 0.95, normalize = true, masks }: GAEOptions = {},
): AdvantagesAndReturns {
  checkFraction('gamma', gamma)
  checkFraction('gae_lambda', gaeLambda)
  checkShape('values', rewards, values)
  if (masks) checkShape('masks', rewards, masks)
  const isValid = (row: number, t: number) => masks?.[row]?.[t] ?? true
  const raw = rewards.map((row, r) =>
    advantagesOf(row, values[r] as readonly number[], (t) => isValid(r, t), gamma, gaeLambda),
  )
  const valid = raw.flatMap((row, r) => row.filter((_, t) => isValid(r, t)))
  const [shift, scale] = normalize && valid.length > 1 ? [mean(valid), deviation(valid, 0) + EPSILON] : [0, 1]
  const where = (row: number, t: number, value: number) => (isValid(row, t) ? value : 0)
  return {
    advantages: raw.map((row, r) => row.map((advantage, t) => where(r, t, (advantage - shift) / scale))),
    returns: raw.map((row, r) => row.map((advantage, t) => where(r, t, advantage + (values[r]?.[t] as number)))),
  }
}

/**
 * Rewards of whole answers as rewards of tokens: on the last one, and on each token the penalty for leaving the reference,
 * -klCoef (old - ref), where log-probabilities are given. Throws CatalogueError INVALID_ARGUMENT.
 */
export function tokenRewards(
  rewards: readonly number[],
  lengths: readonly number[],
  kl?: {
    readonly oldLogps: readonly (readonly number[])[]
    readonly refLogps: readonly (readonly number[])[]
    readonly klCoef: number
  },
): number[][] {
  if (rewards.length !== lengths.length)
    throw refused('lengths', lengths.length, `one for each of ${rewards.length} rewards`)
  return rewards.map((reward, row) => {
    const length = lengths[row] as number
    if (!Number.isInteger(length) || length < 1) throw refused('lengths', length, 'whole numbers from 1')
    const [old, ref] = [kl?.oldLogps[row], kl?.refLogps[row]]
    if (kl && (old?.length !== length || ref?.length !== length)) {
      throw refused('old_logps', old?.length ?? null, `${length} long in row ${row}, as ref_logps`)
    }
    return Array.from({ length }, (_, t) => {
      const penalty = kl ? -kl.klCoef * ((old?.[t] as number) - (ref?.[t] as number)) : 0
      return penalty + (t === length - 1 ? reward : 0)
    })
  })
}

function advantagesOf(
  rewards: readonly number[],
  values: readonly number[],
  isValid: (t: number) => boolean,
  gamma: number,
  lambda: number,
): number[] {
  const advantages: number[] = Array(rewards.length).fill(0)
  let nextValue = 0
  let nextAdvantage = 0
  for (let t = rewards.length - 1; t >= 0; t--) {
    if (!isValid(t)) continue
    const delta = (rewards[t] as number) + gamma * nextValue - (values[t] as number)
    nextAdvantage = delta + gamma * lambda * nextAdvantage
    nextValue = values[t] as number
    advantages[t] = nextAdvantage
  }
  return advantages
}

function checkFraction(name: string, value: number): void {
  if (!(value >= 0 && value <= 1)) throw refused(name, value, 'a number from 0 to 1')
}

function checkShape(
  name: string,
  rewards: readonly (readonly unknown[])[],
  other: readonly (readonly unknown[])[],
): void {
  const isSame = rewards.length === other.length && rewards.every((row, r) => row.length === other[r]?.length)
  if (!isSame)
    throw refused(
      name,
      other.map(({ length }) => length),
      'of the same shape as rewards',
    )
}

const refused = (argument: string, given: unknown, wanted: string) =>
  invalidArgument('advantage', 'GAEAdvantage', argument, given, wanted)
