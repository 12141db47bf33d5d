// The catalogue of losses. All are sums over targets, never means. With p the current log-probability of a target, q that
// of the policy that sampled it, A its advantage, w its weight and r = exp(p - q), a token loss is a value and a derivative
// of p alone; the formulas are those of the Tinker documentation. Losses that look at more than one target at once stand in
// sequence-losses.ts. Knows numbers; knows nothing of tokens, graphs or tensors.

import type { LossKind, LossName, LossSpec, TrainingDatum } from './backend.ts'
import { engineError } from './engine-errors.ts'
import { clamp, clipLimits, finiteExp } from './ratios.ts'
import { SEQUENCE_LOSSES, type SequenceLossName } from './sequence-losses.ts'

/** The tensors, besides the targets, that a loss may read. */
export type LossInput = 'weights' | 'logprobs' | 'advantages' | 'sequence_ratio_mask'

/** What a loss knows of one target. Inputs that the loss does not read are not looked at. */
interface TargetInputs {
  readonly weight: number
  readonly old: number
  readonly advantage: number
}

/**
 * A loss at one target as numbers, the way engines compute gradients without knowing losses:
 * d(-loss)/dp = linear + ratio * clamp(r, low, high) * [gateLow <= r <= gateHigh] - pull * (p - old).
 */
export const LOSS_NUMBERS = ['old', 'linear', 'ratio', 'low', 'high', 'gateLow', 'gateHigh', 'pull'] as const
export type LossNumbers = Readonly<Record<(typeof LOSS_NUMBERS)[number], number>>

interface LossTraits {
  readonly name: LossName
  readonly kind: LossKind
  readonly required: readonly LossInput[]
  readonly optional: readonly LossInput[]
  /** Targets may be (N, K): several per position. */
  readonly soft: boolean
  /** Configuration keys with their defaults; null = must be given. */
  readonly config: Readonly<Record<string, number | null>>
}

export interface TokenLoss extends LossTraits {
  readonly kind: 'token'
  /** The loss at one target; a float64. */
  value(p: number, x: TargetInputs, config: LossSpec['config']): number
  numbers(x: TargetInputs, config: LossSpec['config']): LossNumbers
}

/**
 * A loss that needs the log-probabilities of many targets before the gradient of any: the operation is scored as a whole,
 * then `joint` says loss and slopes in float64, then the slopes go backward. However an operation was cut into batches,
 * `joint` sees all of its datums.
 */
export interface JointLoss extends LossTraits {
  readonly kind: 'sequence'
  /** What is wrong with a datum beyond sizes and missing tensors: a sentence, or undefined. */
  problem(datum: TrainingDatum): string | undefined
  joint(datums: readonly TrainingDatum[], logprobs: readonly Float64Array[], config: LossSpec['config']): JointResult
}

export interface JointResult {
  readonly loss: number
  /** Per datum, of its logprobs' shape: d(-loss)/dp. */
  readonly slopes: readonly Float64Array[]
}

export type Loss = TokenLoss | JointLoss
type TokenLossName = Exclude<LossName, SequenceLossName>

/** Stands for infinity where a product with 0 must be 0. A finite float32. */
const HUGE = 3e38

const NEUTRAL: LossNumbers = { old: 0, linear: 0, ratio: 0, low: 0, high: HUGE, gateLow: 0, gateHigh: HUGE, pull: 0 }

const ratio = (p: number, q: number) => finiteExp(p - q)
const POLICY = { kind: 'token', required: ['logprobs', 'advantages'], optional: [], soft: false } as const

export const TOKEN_LOSSES: Readonly<Record<TokenLossName, TokenLoss>> = {
  cross_entropy: {
    name: 'cross_entropy',
    kind: 'token',
    required: [],
    optional: ['weights'],
    soft: true,
    config: {},
    value: (p, { weight }) => (weight === 0 ? 0 : -p * weight),
    numbers: ({ weight }) => ({ ...NEUTRAL, linear: weight }),
  },
  importance_sampling: {
    name: 'importance_sampling',
    ...POLICY,
    config: {},
    value: (p, { old, advantage }) => -ratio(p, old) * advantage,
    numbers: ({ old, advantage }) => ({ ...NEUTRAL, old, ratio: advantage }),
  },
  ppo: {
    name: 'ppo',
    ...POLICY,
    config: { clip_low_threshold: 0.8, clip_high_threshold: 1.2 },
    value: (p, { old, advantage }, config) => {
      const { low, high } = clipLimits(config)
      const r = ratio(p, old)
      return -Math.min(r * advantage, clamp(r, low, high) * advantage)
    },
    // Beyond the limit that would be gained by, the clipped branch is the smaller one and has no slope.
    numbers: ({ old, advantage }, config) => {
      const { low, high } = clipLimits(config)
      const gate = advantage >= 0 ? { gateHigh: high } : { gateLow: low }
      return { ...NEUTRAL, old, ratio: advantage, ...gate }
    },
  },
  cispo: {
    name: 'cispo',
    ...POLICY,
    config: { clip_low_threshold: 0, clip_high_threshold: 4 },
    value: (p, { old, advantage }, config) => {
      const { low, high } = clipLimits(config)
      return advantage === 0 ? 0 : -clamp(ratio(p, old), low, high) * p * advantage
    },
    numbers: ({ old, advantage }, config) => ({ ...NEUTRAL, old, ratio: advantage, ...clipLimits(config) }),
  },
  dro: {
    name: 'dro',
    ...POLICY,
    config: { beta: null },
    value: (p, { old, advantage }, { beta }) => 0.5 * (beta as number) * (p - old) ** 2 - p * advantage,
    numbers: ({ old, advantage }, { beta }) => ({ ...NEUTRAL, old, linear: advantage, pull: beta as number }),
  },
}

export const LOSSES: Readonly<Record<LossName, Loss>> = { ...TOKEN_LOSSES, ...SEQUENCE_LOSSES }

/** Names of the losses of these kinds. */
export const lossesOf = (kinds: readonly LossKind[]): LossName[] =>
  Object.values(LOSSES)
    .filter((loss) => kinds.includes(loss.kind))
    .map((loss) => loss.name)

/** The numbers of a target whose slope is known already. */
export const slopeNumbers = (slope: number): LossNumbers => ({ ...NEUTRAL, linear: slope })

/** d(-loss)/dp at one target, from the numbers that the graph gets. */
export function lossSlope(p: number, n: LossNumbers): number {
  const delta = p - n.old
  const r = Math.exp(delta)
  const gated = r >= n.gateLow && r <= n.gateHigh ? clamp(r, n.low, n.high) : 0
  return n.linear + n.ratio * gated - n.pull * delta
}

/** False when the target has no gradient whatever its probability. */
export const hasSlope = (n: LossNumbers): boolean => n.linear !== 0 || n.ratio !== 0 || n.pull !== 0

/**
 * A loss by its name with its configuration completed by defaults. Throws EngineError UNSUPPORTED_LOSS for an unknown
 * name, INVALID_INPUT for a configuration it cannot take.
 */
export function resolveLoss(name: string, config: Readonly<Record<string, unknown>> = {}): LossSpec {
  const loss = Object.hasOwn(LOSSES, name) ? LOSSES[name as LossName] : undefined
  if (!loss) {
    throw engineError(
      'UNSUPPORTED_LOSS',
      `loss ${JSON.stringify(name)} is not supported; use one of ${Object.keys(LOSSES).join(', ')}`,
    )
  }
  const keys = Object.keys(loss.config)
  for (const [key, value] of Object.entries(config)) {
    if (!keys.includes(key)) {
      const known = keys.length ? `it takes ${keys.join(', ')}` : 'it takes none'
      throw engineError('INVALID_INPUT', `loss ${name} has no configuration key ${JSON.stringify(key)}; ${known}`)
    }
    if (typeof value !== 'number' || !Number.isFinite(value)) {
      throw engineError('INVALID_INPUT', `loss ${name}: ${key} must be a finite number, not ${show(value)}`)
    }
  }
  const complete: Record<string, number> = {}
  for (const [key, standard] of Object.entries(loss.config)) {
    const value = (config[key] as number | undefined) ?? standard
    if (value === null) {
      throw engineError('INVALID_INPUT', `loss ${name} needs ${key} in its configuration: there is no default for it`)
    }
    complete[key] = value
  }
  const { clip_low_threshold: low = 0, clip_high_threshold: high = low } = complete
  if (low > high) {
    throw engineError(
      'INVALID_INPUT',
      `loss ${name}: clip_low_threshold ${low} is above clip_high_threshold ${high}; both are ratios around 1`,
    )
  }
  return { name: loss.name, config: complete }
}

const show = (value: unknown) => (typeof value === 'number' ? String(value) : JSON.stringify(value))
