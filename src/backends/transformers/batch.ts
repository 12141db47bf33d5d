// A micro-batch: datums of several operations packed one after another. Knows where each one's tokens, rows and adapter
// columns are; knows nothing of arrays (batch-arrays.ts) or of why these operations were put together (plan.ts).

import { hasSlope, type LossNumbers, scaled, slopeNumbers } from '../../catalogue/losses/numbers.ts'
import type { LossSpec, TrainingDatum } from '../backend.ts'
import { entropyWeightOf, lossOf, targetInputs } from '../losses.ts'
import { type AdapterLayout, PROJECTIONS, type Projection } from './adapter-layout.ts'
import type { GraphKey, HeadExtra } from './training-graph.ts'
import type { Floats } from './training-stacks.ts'

/** What a batch needs of an operation. */
export interface BatchWork {
  readonly datums: readonly TrainingDatum[]
  readonly loss: LossSpec
  /** Per datum d(-loss)/d(logprob) of each target, where they are known before the pass: those of a joint loss. */
  readonly slopes?: readonly Float64Array[] | undefined
  /** Per datum [N] the share of each position in the loss, for a loss that has shares. */
  readonly shares?: readonly Float64Array[] | undefined
  readonly weights: { readonly layout: AdapterLayout; readonly params: Floats; readonly alpha: number }
}

/** A range of an operation's datums, and where its tokens, rows and adapter columns begin in the batch. */
export interface Place {
  readonly first: number
  readonly count: number
  readonly token: number
  readonly graded: number
  readonly scored: number
  readonly column: number
}
export interface Part<W extends BatchWork = BatchWork> {
  readonly work: W
  readonly place: Place
}

/** Everything, besides the numbers themselves, that decides how a run rounds. Plain JSON. */
export interface BatchShape {
  readonly projections: readonly Projection[]
  readonly backward: boolean
  readonly head?: HeadExtra
  readonly tokens: number
  readonly columns: number
  /** Rows of the head with and without a gradient; at least one each. */
  readonly graded: number
  readonly scored: number
  /** Targets a row. */
  readonly width: number
  /** The first token of each attention span, and how many places a span has. */
  readonly spans: readonly number[]
  readonly span: number
}
export interface Batch<W extends BatchWork = BatchWork> {
  readonly shape: BatchShape
  readonly parts: readonly Part<W>[]
}

export const graphKeyOf = ({ projections, backward, head }: BatchShape): GraphKey => ({
  projections,
  backward,
  ...(head && { head }),
})

/** What the loss says of one position's targets; the position has a gradient if any of them has. */
export function targetNumbers(work: BatchWork, index: number, position: number): LossNumbers[] {
  const { loss, slopes, shares } = work
  const datum = work.datums[index] as TrainingDatum
  const rule = lossOf(loss.name)
  const share = shares?.[index]?.[position]
  const entropy = share === undefined ? 0 : share * entropyWeightOf(loss)
  return Array.from({ length: datum.width }, (_, k) => {
    const numbers =
      rule.kind === 'token'
        ? rule.numbers(targetInputs(datum, position, k), loss.config)
        : slopeNumbers(slopes?.[index]?.[position * datum.width + k] ?? 0)
    // Slopes of joint losses have their shares in them. The entropy is the row's: the first target stands for it.
    const own = share === undefined || rule.kind !== 'token' ? numbers : scaled(numbers, share)
    return entropy === 0 || k > 0 ? own : { ...own, entropy }
  })
}

export const datumsOf = <W extends BatchWork>({ work, place }: Part<W>) =>
  work.datums.slice(place.first, place.first + place.count)

/** Packs datum ranges in the given order, all of them for the same pass. */
export function packBatch<W extends BatchWork>(
  ranges: readonly { readonly work: W; readonly first: number; readonly count: number }[],
  backward: boolean,
  head?: HeadExtra,
): Batch<W> {
  const parts: Part<W>[] = []
  const lengths: number[] = []
  let [token, graded, scored, column, width] = [0, 0, 0, 0, 1]
  for (const { work, first, count } of ranges) {
    parts.push({ work, place: { first, count, token, graded, scored, column } })
    for (const [i, datum] of work.datums.slice(first, first + count).entries()) {
      // An embedding is one row, with a gradient or without.
      const withSlope = head === 'embeddings' ? 1 : backward ? gradedPositions(work, first + i) : 0
      lengths.push(datum.tokens.length)
      token += datum.tokens.length
      graded += withSlope
      if (head !== 'embeddings') scored += datum.tokens.length - withSlope
      width = Math.max(width, datum.width)
    }
    column += work.weights.layout.rank
  }
  const adapted = new Set(ranges.flatMap(({ work }) => work.weights.layout.sections.map((s) => s.projection)))
  const shape: BatchShape = {
    // Embeddings do not go through the output projection.
    projections: PROJECTIONS.filter((p) => adapted.has(p) && !(head === 'embeddings' && p === 'unembed')),
    backward,
    ...(head && { head }),
    tokens: token,
    columns: column,
    graded: Math.max(1, graded),
    scored: Math.max(1, scored),
    width,
    ...attentionSpans(lengths),
  }
  return { shape, parts }
}

function gradedPositions(work: BatchWork, index: number): number {
  const { tokens } = work.datums[index] as TrainingDatum
  let count = 0
  for (let i = 0; i < tokens.length; i++) if (targetNumbers(work, index, i).some(hasSlope)) count++
  return count
}

/** A span holds the longest sequence, and several short ones up to so many tokens. */
export const SHORT_SPAN = 64

/** Cuts sequences that follow each other into spans of whole ones, as long as the fullest of them. */
function attentionSpans(lengths: readonly number[]): { spans: number[]; span: number } {
  const room = Math.max(SHORT_SPAN, ...lengths)
  const spans = [0]
  let [token, span] = [0, 0]
  for (const length of lengths) {
    if (token + length - (spans.at(-1) as number) > room) spans.push(token)
    token += length
    span = Math.max(span, token - (spans.at(-1) as number))
  }
  return { spans, span }
}
