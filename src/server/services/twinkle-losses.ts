// Which loss a pass of Twinkle's protocol computes: the adapter's where the call has all that it reads, else plain scores of the
// labels. Knows losses and rows; knows nothing of operations.

import type { Kwargs } from '../../catalogue/arguments.ts'
import { type CatalogueLossSpec, canEvaluate, catalogueLoss, DEFAULT_LOSS } from '../../catalogue/losses/catalogue.ts'
import { serviceError } from '../errors.ts'
import type { EncodedRow } from '../wire/twinkle-rows.ts'

/** The task of rows that have an embedding each. */
export const EMBEDDING = 'embedding'

export interface LossChoice {
  readonly spec: CatalogueLossSpec
  /** Whether its value is the adapter's loss. */
  readonly isComputed: boolean
}

/**
 * A pass without gradient is worth having before there is all that the loss reads: then it scores labels, and has no loss.
 * Rows to embed have no labels to score: what their loss cannot take is refused.
 */
export function lossFor(spec: CatalogueLossSpec, rows: readonly EncodedRow[], kwargs: Kwargs): LossChoice {
  checkTask(spec, kwargs)
  const datums = rows.map(({ datum }) => datum)
  const isComputed = kwargs.task === EMBEDDING || canEvaluate(spec, datums)
  return isComputed ? { spec, isComputed } : { spec: DEFAULT_LOSS, isComputed: false }
}

/**
 * Rows that were encoded to be embedded have no labels that another loss could learn, and the other way round. Throws
 * UNFIT_TASK.
 */
export function checkTask(spec: CatalogueLossSpec, kwargs: Kwargs): void {
  const wanted = catalogueLoss(spec.name).kind === 'embedding' ? EMBEDDING : 'causal_lm'
  const given = kwargs.task ?? 'causal_lm'
  if (given === wanted) return
  throw serviceError('UNFIT_TASK', { loss: spec.name, given: JSON.stringify(given), wanted: JSON.stringify(wanted) })
}
