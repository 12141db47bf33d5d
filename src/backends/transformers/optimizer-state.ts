// What an optimiser rule keeps from step to step: flat arrays of an adapter's layout, by the names of the rule. Types only.

import type { OptimizerRule } from '../../catalogue/optimizers/spec.ts'

export type Floats = Float32Array | Float64Array

/** What a rule moves: weights, its arrays (`m` and `v`, or `momentum`; absent ones begin), and the steps taken. */
export interface Moving<T extends Floats> {
  readonly params: T
  readonly slots: Readonly<Record<string, T>>
  readonly step: number
}

/** The state of an adapter between steps. */
export interface OptimizerState extends Omit<Moving<Float32Array>, 'params'> {
  /** Whose arrays these are: another rule cannot go on with them. */
  readonly rule: OptimizerRule
}
