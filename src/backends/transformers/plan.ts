// Which datums are computed together, and the record that lets one operation be computed again with the same bits.
// Rounding depends on the shapes of a batch and on the place in it, not on what the neighbours' numbers were (other
// columns and keys only add exact zeros): a record keeps shapes and place, and replay leaves the neighbours' places empty.
// Knows sizes and budgets; knows nothing of sessions.

import type { TrainingPlan } from '../backend.ts'
import { engineError } from '../engine-errors.ts'
import { PROJECTIONS } from './adapter-layout.ts'
import { type Batch, type BatchShape, type BatchWork, type Place, packBatch } from './batch.ts'
import type { HeadExtra } from './training-graph.ts'

export const PLAN_VERSION = 1

export interface Budget {
  /** A batch ends before it would have more tokens; a lone datum may. */
  readonly tokens: number
  /** Adapter columns, the sum of the ranks; a lone operation may have more. */
  readonly columns: number
  /** Bytes that a run may take, by `estimate`. */
  readonly bytes: number
}

export interface PlannedWork extends BatchWork {
  /** Whether the present pass over the datums computes a gradient. */
  readonly backward: boolean
  readonly head?: HeadExtra | undefined
  /** Datums that this pass has done or under way. */
  readonly next: number
  /** Its batches hold nobody else's datums. */
  readonly alone: boolean
}

/**
 * The next batch: as many datums, in order, from the first works of one kind as the budget holds; at least one datum. No
 * work overtakes one of its own adapter. Works are read no further than needed.
 */
export function nextBatch<W extends PlannedWork>(
  works: Iterable<W>,
  budget: Budget,
  estimate: (shape: BatchSize) => number,
): Batch<W> {
  const ranges: { work: W; first: number; count: number }[] = []
  const passedOver = new Set<W['weights']>()
  let leader: W | undefined
  let size: BatchSize = { tokens: 0, longest: 0, columns: 0, width: 1, backward: false }
  for (const work of works) {
    if (leader === undefined) {
      leader = work
      size = { ...size, backward: work.backward, ...(work.head && { head: work.head }) }
    } else {
      if (leader.alone || work.alone) break
      if (!isOfOneGraph(work, leader)) passedOver.add(work.weights)
      if (passedOver.has(work.weights)) continue
    }
    const columns = size.columns + work.weights.layout.rank
    let count = 0
    for (const { tokens, width } of work.datums.slice(work.next)) {
      const more: BatchSize = {
        ...size,
        tokens: size.tokens + tokens.length,
        longest: Math.max(size.longest, tokens.length),
        columns,
        width: Math.max(size.width, width),
      }
      const fits = more.tokens <= budget.tokens && columns <= budget.columns && estimate(more) <= budget.bytes
      if (!fits && size.tokens > 0) break
      size = more
      count++
      if (!fits) break
    }
    if (count > 0) ranges.push({ work, first: work.next, count })
    if (work.next + count < work.datums.length) break
  }
  if (!leader) throw new RangeError('no work to plan')
  return packBatch(ranges, leader.backward, leader.head)
}

type Pass = Pick<PlannedWork, 'backward' | 'head'>
const isOfOneGraph = (a: Pass, b: Pass) => a.backward === b.backward && a.head === b.head

export interface BatchSize {
  readonly tokens: number
  readonly longest: number
  readonly columns: number
  readonly width: number
  readonly backward: boolean
  readonly head?: HeadExtra
}

/** In the order of their numbers in records. */
const HEADS: readonly (HeadExtra | undefined)[] = [undefined, 'entropies', 'embeddings']

/** A batch and one operation's place in it, as compact JSON. */
export type BatchRecord = readonly [
  projections: number,
  /** Bit 0: with gradients. From bit 1 on: the place of its head in HEADS. */
  graph: number,
  sizes: readonly [tokens: number, columns: number, graded: number, scored: number, width: number, span: number],
  spans: readonly number[],
  place: readonly [first: number, count: number, token: number, graded: number, scored: number, column: number],
]

export function batchRecord(shape: BatchShape, place: Place): BatchRecord {
  const mask = shape.projections.reduce((bits, p) => bits | (1 << PROJECTIONS.indexOf(p)), 0)
  return [
    mask,
    (shape.backward ? 1 : 0) | (HEADS.indexOf(shape.head) << 1),
    [shape.tokens, shape.columns, shape.graded, shape.scored, shape.width, shape.span],
    shape.spans,
    [place.first, place.count, place.token, place.graded, place.scored, place.column],
  ]
}

const areNumbers = (values: unknown, length?: number) =>
  Array.isArray(values) && values.every(Number.isSafeInteger) && (length ?? values.length) === values.length

function isBatchRecord(record: unknown): record is BatchRecord {
  if (!Array.isArray(record) || record.length !== 5) return false
  const [mask, graph, sizes, spans, place] = record
  if (!(graph >= 0 && graph < 2 * HEADS.length)) return false
  return areNumbers([mask, graph]) && areNumbers(sizes, 6) && areNumbers(spans) && areNumbers(place, 6)
}

/** The batch of a record with one operation in its place and nobody else. */
export function recordedBatch<W extends BatchWork>(record: BatchRecord, work: W): Batch<W> {
  const [mask, graph, sizes, spans, at] = record
  const [tokens, columns, graded, scored, width, span] = sizes
  const head = HEADS[graph >> 1]
  const [first, count, token, gradedAt, scoredAt, column] = at
  return {
    shape: {
      projections: PROJECTIONS.filter((_, i) => mask & (1 << i)),
      backward: (graph & 1) === 1,
      ...(head && { head }),
      tokens,
      columns,
      graded,
      scored,
      width,
      spans,
      span,
    },
    parts: [{ work, place: { first, count, token, graded: gradedAt, scored: scoredAt, column } }],
  }
}

/**
 * Throws EngineError PLAN_MISMATCH when `plan` is not of this runtime or not of this operation, whose passes over its
 * datums compute a gradient or not, as in `passes`.
 */
export function checkPlan(
  plan: TrainingPlan,
  runtime: string,
  work: Pick<PlannedWork, 'datums' | 'weights' | 'loss' | 'head'>,
  passes: readonly boolean[],
): void {
  const refuse: (reason: string) => never = (reason) => {
    throw engineError('PLAN_MISMATCH', `the recorded plan cannot be repeated bit for bit: ${reason}`)
  }
  if (plan.version !== PLAN_VERSION) refuse(`it is of version ${plan.version}, this engine writes ${PLAN_VERSION}`)
  if (plan.runtime !== runtime) refuse(`it was made by "${plan.runtime}", this engine is "${runtime}"`)
  let [next, pass] = [0, 0]
  for (const record of plan.batches) {
    if (!isBatchRecord(record)) refuse('a record of it is damaged')
    const { shape, parts } = recordedBatch(record, work)
    const { first = -1, count = 0, token = 0, column = 0 } = parts[0]?.place ?? {}
    const length = work.datums.slice(first, first + count).reduce((sum, d) => sum + d.tokens.length, 0)
    const fits = token + length <= shape.tokens && column + work.weights.layout.rank <= shape.columns
    const isSameGraph = isOfOneGraph(shape, { backward: passes[pass] ?? false, head: work.head })
    if (first !== next || !fits || !isSameGraph || pass >= passes.length) refuse('it is of another operation')
    next = first + count
    if (next === work.datums.length) [next, pass] = [0, pass + 1]
  }
  const [covered, whole] = [pass * work.datums.length + next, passes.length * work.datums.length]
  if (covered !== whole) refuse(`it covers ${covered} datums, the operation has ${whole}`)
}
