// A token loss at one target as numbers: what an engine needs to take any of them backward without knowing losses. Also the
// few functions of numbers that losses share. Knows nothing of names, settings or datums.

/**
 * With p the target's log-probability now and r = exp(p - old):
 * d(-loss)/dp = linear + ratio * clamp(r, low, high) * [gateLow <= r <= gateHigh] - pull * (p - old) + lift * exp(ref - p).
 */
export const LOSS_NUMBERS = [
  'old',
  'linear',
  'ratio',
  'low',
  'high',
  'gateLow',
  'gateHigh',
  'pull',
  'ref',
  'lift',
  'entropy',
] as const
/** `entropy` is the weight of the entropy of the whole distribution, which the loss is lowered by: it is a row's, not a target's. */
export type LossNumbers = Readonly<Record<(typeof LOSS_NUMBERS)[number], number>>

/** Stands for infinity where a product with 0 must be 0. A finite float32. */
const HUGE = 3e38

export const NEUTRAL: LossNumbers = {
  old: 0,
  linear: 0,
  ratio: 0,
  low: 0,
  high: HUGE,
  gateLow: 0,
  gateHigh: HUGE,
  pull: 0,
  ref: 0,
  lift: 0,
  entropy: 0,
}

/** Beyond this ref - p counts as this much: exp of it is a finite float32, so that 0 times it is 0. */
export const MOST_LIFT = 80

/** The numbers of a target whose slope is known already. */
export const slopeNumbers = (slope: number): LossNumbers => ({ ...NEUTRAL, linear: slope })

/** The numbers of a loss that counts so much: its slope times `share`. */
export const scaled = (n: LossNumbers, share: number): LossNumbers => ({
  ...n,
  linear: n.linear * share,
  ratio: n.ratio * share,
  pull: n.pull * share,
  lift: n.lift * share,
})

/** d(-loss)/dp at one target, from the numbers that the graph gets, but for the entropy. */
export function lossSlope(p: number, n: LossNumbers): number {
  const delta = p - n.old
  const r = Math.exp(delta)
  const gated = r >= n.gateLow && r <= n.gateHigh ? clamp(r, n.low, n.high) : 0
  return n.linear + n.ratio * gated - n.pull * delta + n.lift * liftOf(p, n.ref)
}

/** exp(ref - p), kept finite. */
export const liftOf = (p: number, ref: number): number => Math.exp(Math.min(ref - p, MOST_LIFT))

/** False when the target has no gradient whatever its probability. */
export const hasSlope = (n: LossNumbers): boolean =>
  n.linear !== 0 || n.ratio !== 0 || n.pull !== 0 || n.lift !== 0 || n.entropy !== 0

/** exp(x), kept finite: times an advantage of 0 it must give 0. */
export const finiteExp = (x: number): number => Math.min(Math.exp(x), Number.MAX_VALUE)

export const clamp = (x: number, low: number, high: number): number => Math.min(Math.max(x, low), high)

export const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x))

/** log of the sigmoid, without overflow on either side. */
export const logSigmoid = (x: number): number => Math.min(x, 0) - Math.log1p(Math.exp(-Math.abs(x)))
