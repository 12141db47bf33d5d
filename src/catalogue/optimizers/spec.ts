// An optimiser as plain data: the rule by which weights move, and its numbers. What an engine gets with each step, and what
// the names of the catalogue come down to. Knows neither weights nor names.

export type OptimizerSpec = AdamSpec | SgdSpec
export type OptimizerRule = OptimizerSpec['rule']

interface OfEveryRule {
  readonly learningRate: number
  /** A pull towards 0. `adamw` takes it apart from the gradient; the other rules add it to the gradient. */
  readonly weightDecay: number
  /** Global L2 norm that the gradient is clipped to before the step; 0 = off. */
  readonly clipNorm: number
}

/** Moments of the gradient with bias correction; `adam` is torch's Adam, `adamw` its AdamW. */
export interface AdamSpec extends OfEveryRule {
  readonly rule: 'adam' | 'adamw'
  readonly beta1: number
  readonly beta2: number
  readonly epsilon: number
}

/** torch's SGD. */
export interface SgdSpec extends OfEveryRule {
  readonly rule: 'sgd'
  /** 0 = none: then there is no state but the count of steps. */
  readonly momentum: number
  readonly dampening: number
  readonly nesterov: boolean
}
