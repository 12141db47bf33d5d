// The catalogue of losses, in two families. Those of the Tinker documentation stand here: sums over targets, never means. With
// p the current log-probability of a target, q that of the policy that sampled it, A its advantage, w its weight and
// r = exp(p - q), a token loss is a value and a derivative of p alone. Losses that look at more than one target at once stand in
// sequence-losses.ts. Those of Twinkle's catalogue come from src/catalogue/losses and bring their own means. Knows numbers;
// knows nothing of tokens, graphs or tensors.

import { catalogueLoss, isCatalogueLoss } from '../catalogue/losses/catalogue.ts'
import type { CatalogueInput } from '../catalogue/losses/loss.ts'
import { clamp, finiteExp, type LossNumbers, NEUTRAL } from '../catalogue/losses/numbers.ts'
import type { EngineInfo, LossKind, LossName, LossSpec, TinkerLossName, TrainingDatum } from './backend.ts'
import { engineError } from './engine-errors.ts'
import { clipLimits } from './ratios.ts'
import { SEQUENCE_LOSSES, type SequenceLossName } from './sequence-losses.ts'

/** The tensors, besides the targets, that a loss may read. */
export type LossInput = 'weights' | 'logprobs' | 'advantages' | 'sequence_ratio_mask' | CatalogueInput

/** What a loss knows of one target. Inputs that the loss does not read are not looked at. */
export interface TargetInputs {
  readonly weight: number
  readonly old: number
  readonly advantage: number
  /** Log-probability under the reference model. */
  readonly reference?: number
  /** The datum has no sampling policy but the one being trained. */
  readonly isOnPolicy?: boolean
}

/** What a datum says of target `k` of a position. */
export function targetInputs(datum: TrainingDatum, position: number, k: number): TargetInputs {
  return {
    weight: datum.weights?.[position * datum.width + k] ?? 1,
    old: datum.logprobs?.[position] ?? 0,
    advantage: datum.advantages?.[position] ?? 0,
    reference: datum.ref_logps?.[position] ?? 0,
    isOnPolicy: datum.logprobs === undefined,
  }
}

/** What engines need to know of a loss of either family. */
interface LossTraits {
  readonly required: readonly LossInput[]
  readonly optional: readonly LossInput[]
  /** Targets may be (N, K): several per position. */
  readonly soft: boolean
  /** What is wrong with a datum beyond sizes and missing tensors: a sentence, or undefined. */
  problem?(datum: TrainingDatum, config: LossSpec['config']): string | undefined
  /** The same of all datums of an operation together. */
  problemOfAll?(datums: readonly TrainingDatum[], config: LossSpec['config']): string | undefined
  /** Per datum [N]: what the terms of each position are multiplied by. Absent: 1, and the loss is a plain sum. */
  shares?(datums: readonly TrainingDatum[], config: LossSpec['config']): readonly Float64Array[]
  /** How much of the entropy of a position's distribution its term is lowered by. Absent: none. */
  entropyWeight?(config: LossSpec['config']): number
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
 * `joint` sees all of its datums. What it says of them has their shares in it already, but no entropy.
 */
export interface JointLoss extends LossTraits {
  /**
   * `pair`: the number of datums is even, they alternate between the preferred answer and the other. `embedding`: `joint` gets
   * the hidden state at the position that each datum's mask marks, [hidden], in place of log-probabilities.
   */
  readonly kind: 'sequence' | 'pair' | 'embedding'
  joint(datums: readonly TrainingDatum[], logprobs: readonly Float64Array[], config: LossSpec['config']): JointResult
}

export interface JointResult {
  readonly loss: number
  /** Per datum, of its logprobs' shape: d(-loss)/dp. */
  readonly slopes: readonly Float64Array[]
}

export type Loss = TokenLoss | JointLoss

/** What a client of the Tinker wire names and sets. */
interface Named {
  readonly name: TinkerLossName
  /** Configuration keys with their defaults; null = must be given. */
  readonly config: Readonly<Record<string, number | null>>
}
export type TinkerLoss = Loss & Named
type TokenLossName = Exclude<TinkerLossName, SequenceLossName>

const ratio = (p: number, q: number) => finiteExp(p - q)
const POLICY = { kind: 'token', required: ['logprobs', 'advantages'], optional: [], soft: false } as const

export const TOKEN_LOSSES: Readonly<Record<TokenLossName, TokenLoss & Named>> = {
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

/** Those that the Tinker wire may name. */
export const LOSSES: Readonly<Record<TinkerLossName, TinkerLoss>> = { ...TOKEN_LOSSES, ...SEQUENCE_LOSSES }

/** The loss of a spec, of either family. */
export const lossOf = (name: LossName): Loss => (isCatalogueLoss(name) ? catalogueLoss(name) : LOSSES[name])

/** What an engine must be able to do for it. */
export function needsOf({ name, config }: LossSpec): LossKind[] {
  const { kind } = lossOf(name)
  return entropyWeightOf({ name, config }) > 0 ? [kind, 'entropy'] : [kind]
}

/** Whether an engine computes it. Of the Tinker wire's losses engines have lists, of the catalogue's they know kinds. */
export const supports = (info: Pick<EngineInfo, 'losses' | 'lossKinds'>, loss: LossSpec): boolean =>
  isCatalogueLoss(loss.name)
    ? needsOf(loss).every((kind) => info.lossKinds.includes(kind))
    : info.losses.includes(loss.name)

/** The weight of each position's entropy before its share; 0 where the loss has none. */
export const entropyWeightOf = ({ name, config }: LossSpec): number => lossOf(name).entropyWeight?.(config) ?? 0

/** Names of the losses of these kinds on the Tinker wire. */
export const lossesOf = (kinds: readonly LossKind[]): TinkerLossName[] =>
  Object.values(LOSSES)
    .filter((loss) => kinds.includes(loss.kind))
    .map((loss) => loss.name)

/**
 * A loss of the Tinker wire by its name with its configuration completed by defaults. Throws EngineError UNSUPPORTED_LOSS for an unknown
 * name, INVALID_INPUT for a configuration it cannot take.
 */
export function resolveLoss(name: string, config: Readonly<Record<string, unknown>> = {}): LossSpec {
  const loss = Object.hasOwn(LOSSES, name) ? LOSSES[name as TinkerLossName] : undefined
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
