// What contrastive training is steered by: the cosine of each anchor and its positive, and the products of anchors with the
// positives of others in the batch (embeddings of length 1 make these cosines, too).

import { normResult } from './basic.ts'
import { type MetricResult, type MetricRow, metric, NO_ARGUMENTS, plus } from './metric.ts'
import { fixed } from './text.ts'

interface Sums {
  readonly positives: number
  readonly positiveSum: number
  /** Null before there is any. */
  readonly least: number | null
  readonly most: number | null
  readonly negatives: number
  readonly negativeSum: number
  readonly loss: number
  readonly losses: number
  readonly [key: string]: number | null
}
const NOTHING: Sums = {
  ...{ positives: 0, positiveSum: 0, least: null, most: null },
  ...{ negatives: 0, negativeSum: 0, loss: 0, losses: 0 },
}

export const embeddingMetric = metric({
  read: NO_ARGUMENTS,
  begin: () => NOTHING,
  add: (_, counts, { rows, loss }) => {
    const pairs = pairsOf(rows)
    if (pairs.length === 0) return counts
    const cosines = pairs.map(([anchor, positive]) => cosine(anchor, positive))
    // Of each anchor with each positive but its own: as a product of two sums, so that many rows take no square of time.
    const own = sum(pairs.map(([anchor, positive]) => dot(anchor, positive)))
    const all = dot(total(pairs.map(([anchor]) => anchor)), total(pairs.map(([, positive]) => positive)))
    const sums = plus(counts, {
      ...{ positives: pairs.length, positiveSum: sum(cosines) },
      ...{ negatives: pairs.length * (pairs.length - 1), negativeSum: pairs.length > 1 ? all - own : 0 },
      ...(loss !== null && { loss, losses: 1 }),
    })
    const least = cosines.reduce((a, b) => Math.min(a, b), counts.least ?? Number.POSITIVE_INFINITY)
    return { ...sums, least, most: cosines.reduce((a, b) => Math.max(a, b), counts.most ?? Number.NEGATIVE_INFINITY) }
  },
  result: (_, sums: Sums, { gradientNorm }): MetricResult => {
    const { positives, positiveSum, least, most, negatives, negativeSum, losses } = sums
    return {
      ...(positives > 0 && {
        pos_sim: fixed(positiveSum / positives, 4),
        pos_sim_min: fixed(least ?? 0, 4),
        pos_sim_max: fixed(most ?? 0, 4),
      }),
      ...(negatives > 0 && { neg_sim: fixed(negativeSum / negatives, 4) }),
      ...(losses > 0 && { loss: fixed(sums.loss / losses, 4), ...normResult(gradientNorm) }),
    }
  },
})

type Vector = ArrayLike<number>

/** Each anchor and what it should be near. */
function pairsOf(rows: readonly MetricRow[]): (readonly [Vector, Vector])[] {
  return rows.flatMap(({ embedding, isAnchor }, i) => {
    const positive = rows[i + 1]?.embedding
    return isAnchor && embedding && positive ? [[embedding, positive] as const] : []
  })
}

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0)

/** Of all vectors, element by element. */
function total(vectors: readonly Vector[]): Float64Array {
  const sums = new Float64Array(vectors[0]?.length ?? 0)
  for (const vector of vectors) for (let i = 0; i < sums.length; i++) sums[i]! += vector[i] ?? 0
  return sums
}

function dot(a: Vector, b: Vector): number {
  let total = 0
  for (let i = 0; i < a.length; i++) total += (a[i] as number) * (b[i] ?? 0)
  return total
}

/** As torch: of a vector without length, 0. */
const cosine = (a: Vector, b: Vector) => dot(a, b) / Math.max(1e-8, Math.sqrt(dot(a, a)) * Math.sqrt(dot(b, b)))
