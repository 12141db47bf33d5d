// What becomes of a row that has more tokens than it may have. Knows ids and labels; works before labels are shifted.

import { CatalogueError } from '../catalogue-error.ts'

/**
 * `raise` refuses the row, `left` and `right` cut that side off, `split` makes several rows of it, `delete` leaves it out.
 */
export const TRUNCATION_STRATEGIES = ['raise', 'left', 'right', 'split', 'delete'] as const
export type TruncationStrategy = (typeof TRUNCATION_STRATEGIES)[number]

/** Ids and their labels, one for each and not shifted yet. */
export interface Labelled {
  readonly ids: readonly number[]
  readonly labels: readonly number[]
}

/** @param most null: as many as there are. */
export function truncated(row: Labelled, most: number | null, strategy: TruncationStrategy): Labelled[] {
  const { length } = row.ids
  if (most === null || length <= most) return [row]
  switch (strategy) {
    case 'raise':
      throw new CatalogueError(
        'TOO_LONG',
        `A row has ${length} tokens, which is more than max_length = ${most}.`,
        `Give a larger max_length, or another truncation_strategy: ${TRUNCATION_STRATEGIES.slice(1).join(', ')}.`,
      )
    case 'left':
      return [part(row, length - most, length)]
    case 'right':
      return [part(row, 0, most)]
    case 'split':
      return Array.from({ length: Math.ceil(length / most) }, (_, i) => part(row, i * most, (i + 1) * most))
    case 'delete':
      return []
  }
}

const part = ({ ids, labels }: Labelled, from: number, to: number): Labelled => ({
  ids: ids.slice(from, to),
  labels: labels.slice(from, to),
})
