// How the terms of positions become one number: the means that the literature calls aggregation modes. A share is what a
// position's term is multiplied by; positions that do not count have 0. Knows masks and nothing else.

import type { LossDatum } from './loss.ts'

/** How many positions of a datum count. */
export const counted = ({ mask }: LossDatum): number => mask?.reduce((sum, m) => sum + m, 0) ?? 0

export const totalCounted = (datums: readonly LossDatum[]): number => datums.reduce((sum, d) => sum + counted(d), 0)

const shared = (datums: readonly LossDatum[], share: (datum: LossDatum) => number): Float64Array[] =>
  datums.map((datum) => {
    const each = share(datum)
    return Float64Array.from(datum.mask ?? [], (m) => m * each)
  })

/** The plain sum. */
export const sum = (datums: readonly LossDatum[]) => shared(datums, () => 1)

/** The mean over all positions that count, of all datums together. */
export function tokenMean(datums: readonly LossDatum[]): Float64Array[] {
  const each = 1 / Math.max(1, totalCounted(datums))
  return shared(datums, () => each)
}

/** The mean of each sequence first, then that of the sequences: a long one counts as much as a short one. */
export const sequenceMean = (datums: readonly LossDatum[]) =>
  shared(datums, (datum) => 1 / (Math.max(1, counted(datum)) * datums.length))

/** The sum over a length that is the same for all, whatever was drawn; then the mean of the sequences. */
export const constantLength = (datums: readonly LossDatum[], length: number) =>
  shared(datums, () => 1 / (datums.length * length))
