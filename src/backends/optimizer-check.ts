// What an optimiser step and a clipping may ask for, whichever engine carries them out. Every number comes from outside: it
// is checked by name before anything is written. Knows rules and ranges; computes nothing.

import type { OptimizerRule, OptimizerSpec } from '../catalogue/optimizers/spec.ts'
import type { ClipSettings } from './backend.ts'
import { engineError } from './engine-errors.ts'

interface Limit {
  readonly wanted: string
  holds(value: number): boolean
}
const AT_LEAST_0: Limit = { wanted: 'at least 0', holds: (x) => x >= 0 }
const SHARE: Limit = { wanted: 'at least 0 and below 1', holds: (x) => x >= 0 && x < 1 }
const OF_EVERY_RULE = {
  learningRate: AT_LEAST_0,
  weightDecay: AT_LEAST_0,
  clipNorm: { wanted: 'at least 0 (0 = no clipping)', holds: (x: number) => x >= 0 },
}
const OF_ADAM: Readonly<Record<string, Limit>> = {
  ...OF_EVERY_RULE,
  beta1: SHARE,
  beta2: SHARE,
  epsilon: { wanted: 'above 0', holds: (x) => x > 0 },
}
const OF_SGD: Readonly<Record<string, Limit>> = {
  ...OF_EVERY_RULE,
  momentum: AT_LEAST_0,
  dampening: { wanted: '', holds: () => true },
}
const LIMITS: Readonly<Record<OptimizerRule, Readonly<Record<string, Limit>>>> = {
  adamw: OF_ADAM,
  adam: OF_ADAM,
  sgd: OF_SGD,
}

/** Every rule that a step can follow. An engine says in `EngineInfo.optimizers` which of them it has. */
export const OPTIMIZER_RULES = Object.keys(LIMITS) as readonly OptimizerRule[]

/** Throws EngineError naming the setting and its range. The server asks before a step is journalled. */
export function checkSettings(settings: OptimizerSpec): void {
  const { rule } = settings
  if (!OPTIMIZER_RULES.includes(rule)) {
    throw engineError(
      'UNSUPPORTED_OPTIMIZER',
      `optimiser ${JSON.stringify(rule)} is not supported; use ${OPTIMIZER_RULES.join(', ')}`,
    )
  }
  for (const [name, limit] of Object.entries(LIMITS[rule])) check(rule, name, settings, limit)
  if (settings.rule !== 'sgd') return
  if (typeof settings.nesterov !== 'boolean') {
    throw engineError('INVALID_INPUT', `sgd: nesterov must be true or false, not ${settings.nesterov}`)
  }
  if (settings.nesterov && !(settings.momentum > 0 && settings.dampening === 0)) {
    throw engineError('INVALID_INPUT', 'sgd: nesterov needs a momentum above 0 and a dampening of 0')
  }
}

/** Throws EngineError INVALID_INPUT naming what cannot be done. */
export function checkClip(clip: ClipSettings): void {
  check('clip_gradients', 'divisor', clip, { wanted: 'above 0', holds: (x) => x > 0 })
  if (clip.maxNorm !== null) check('clip_gradients', 'maxNorm', clip, AT_LEAST_0)
  if (clip.normType !== 2) {
    throw engineError('INVALID_INPUT', `clip_gradients: norm_type ${clip.normType} is not supported; use 2`)
  }
}

function check(what: string, name: string, settings: object, { wanted, holds }: Limit): void {
  const value: unknown = settings[name as keyof typeof settings]
  if (typeof value === 'number' && Number.isFinite(value) && holds(value)) return
  throw engineError('INVALID_INPUT', `${what}: ${name} must be a finite number ${wanted}, not ${value}`)
}
