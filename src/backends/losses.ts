// The catalogue of losses. All are sums over targets, never means. With p the current log-probability of a target, q that
// of the policy that sampled it, A its advantage, w its weight and r = exp(p - q), each loss is a value and a derivative of
// p alone; the formulas are those of the Tinker documentation. Knows numbers; knows nothing of tokens, graphs or tensors.

import type { LossName, LossSpec } from './backend.ts'
import { engineError } from './engine-errors.ts'

/** The tensors, besides the targets, that a loss may read. */
export type LossInput = 'weights' | 'logprobs' | 'advantages'

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

export interface Loss {
  readonly name: LossName
  readonly required: readonly LossInput[]
  readonly optional: readonly LossInput[]
  /** Targets may be (N, K): several per position. */
  readonly soft: boolean
  /** Configuration keys with their defaults; null = must be given. */
  readonly config: Readonly<Record<string, number | null>>
  /** The loss at one target; a float64. */
  value(p: number, x: TargetInputs, config: LossSpec['config']): number
  numbers(x: TargetInputs, config: LossSpec['config']): LossNumbers
}

/** Stands for infinity where a product with 0 must be 0. A finite float32. */
const HUGE = 3e38

const NEUTRAL: LossNumbers = { old: 0, linear: 0, ratio: 0, low: 0, high: HUGE, gateLow: 0, gateHigh: HUGE, pull: 0 }

/** exp(p - q), kept finite: times an advantage of 0 it must give 0. */
const ratio = (p: number, q: number) => Math.min(Math.exp(p - q), Number.MAX_VALUE)
const clamp = (x: number, low: number, high: number) => Math.min(Math.max(x, low), high)
const thresholds = (config: LossSpec['config']) => ({
  low: config.clip_low_threshold as number,
  high: config.clip_high_threshold as number,
})
const POLICY = { required: ['logprobs', 'advantages'], optional: [], soft: false } as const

export const LOSSES: Readonly<Record<LossName, Loss>> = {
  cross_entropy: {
    name: 'cross_entropy',
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
      const { low, high } = thresholds(config)
      const r = ratio(p, old)
      return -Math.min(r * advantage, clamp(r, low, high) * advantage)
    },
    // Beyond the limit that would be gained by, the clipped branch is the smaller one and has no slope.
    numbers: ({ old, advantage }, config) => {
      const { low, high } = thresholds(config)
      const gate = advantage >= 0 ? { gateHigh: high } : { gateLow: low }
      return { ...NEUTRAL, old, ratio: advantage, ...gate }
    },
  },
  cispo: {
    name: 'cispo',
    ...POLICY,
    config: { clip_low_threshold: 0, clip_high_threshold: 4 },
    value: (p, { old, advantage }, config) => {
      const { low, high } = thresholds(config)
      return advantage === 0 ? 0 : -clamp(ratio(p, old), low, high) * p * advantage
    },
    numbers: ({ old, advantage }, config) => ({ ...NEUTRAL, old, ratio: advantage, ...thresholds(config) }),
  },
  dro: {
    name: 'dro',
    ...POLICY,
    config: { beta: null },
    value: (p, { old, advantage }, { beta }) => 0.5 * (beta as number) * (p - old) ** 2 - p * advantage,
    numbers: ({ old, advantage }, { beta }) => ({ ...NEUTRAL, old, linear: advantage, pull: beta as number }),
  },
}

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
