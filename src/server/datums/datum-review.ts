// The review of a batch of datums: every check on every datum, and what only shows when they are seen together. Pure.

import { CHECKS, type CheckContext, type Severity } from './datum-checks.ts'
import type { ShownDatum } from './shown-datum.ts'

export interface Finding {
  readonly check: string
  readonly severity: Severity
  /** Null: of the batch. */
  readonly datum: number | null
  /** Index into the datum's tokens; null: of the datum as a whole. */
  readonly position: number | null
  readonly says: string
}

/** In the order of the datums; the batch's come last. */
export function reviewDatums(datums: readonly ShownDatum[], context: CheckContext): Finding[] {
  const found = datums.flatMap((datum, index) =>
    CHECKS.flatMap(({ name, severity, find }) =>
      [...find(datum, context)].map(
        ({ position = null, says }): Finding => ({ check: name, severity, datum: index, position, says }),
      ),
    ),
  )
  return [...found, ...sameAdvantages(datums)]
}

/** Policy gradients learn from differences: where every answer was as good as every other there are none. */
function sameAdvantages(datums: readonly ShownDatum[]): Finding[] {
  const values = new Set<number>()
  for (const { inputs } of datums) {
    if (!inputs.advantages) return []
    const counting = Array.from(inputs.advantages.values).filter((value) => value !== 0)
    for (const value of counting.length ? counting : [0]) values.add(value)
  }
  const [value] = values
  if (datums.length < 2 || values.size > 1 || value === undefined) return []
  const [severity, meaning] =
    value === 0
      ? (['wrong', 'a step changes nothing'] as const)
      : (['suspicious', 'no answer is better than another; were rewards not centred?'] as const)
  const says = `all advantages of the batch are ${value}: ${meaning}`
  return [{ check: 'advantages-equal', severity, datum: null, position: null, says }]
}
