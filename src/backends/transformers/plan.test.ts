import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { resolveLoss } from '../losses.ts'
import { adapterLayout } from './adapter-layout.ts'
import { batchFeeds } from './batch-arrays.ts'
import { batchRecord, nextBatch, type PlannedWork, recordedBatch } from './plan.ts'
import { someDatum } from './testing/harness.ts'
import { ODD_MODEL } from './testing/random-model.ts'

interface Work extends PlannedWork {
  next: number
}

function work(lengths: readonly number[], { rank = 2, backward = true, alone = false } = {}): Work {
  const layout = adapterLayout(ODD_MODEL, ['q', 'unembed'], rank)
  const datums = lengths.map((length, i) => {
    const weights = Float32Array.from({ length }, (_, at) => (at + i) % 3)
    return { ...someDatum(i, length, 50), weights }
  })
  const weights = { layout, params: new Float32Array(layout.size), alpha: 32 }
  return { datums, loss: resolveLoss('cross_entropy'), weights, backward, next: 0, alone }
}

const BUDGET = { tokens: 64, columns: 8, bytes: Number.POSITIVE_INFINITY }
const free = () => 0
const rangesOf = ({ parts }: ReturnType<typeof nextBatch>) => parts.map(({ place: { first, count } }) => [first, count])

describe('nextBatch', () => {
  it('takes datums in order until the token budget is full', () => {
    const works = [work([30, 20, 30]), work([5])]
    expect(rangesOf(nextBatch(works, BUDGET, free))).toEqual([[0, 2]])
    works[0]!.next = 2
    expect(rangesOf(nextBatch(works, BUDGET, free))).toEqual([
      [2, 1],
      [0, 1],
    ])
  })

  it('takes a lone datum whatever its size', () => {
    expect(rangesOf(nextBatch([work([500, 1])], BUDGET, free))).toEqual([[0, 1]])
  })

  it('holds adapter columns within their budget, a lone operation excepted', () => {
    const wide = () => work([1], { rank: 5 })
    expect(nextBatch([wide(), wide()], BUDGET, free).parts).toHaveLength(1)
    expect(nextBatch([work([1], { rank: 99 }), wide()], BUDGET, free).parts).toHaveLength(1)
    expect(nextBatch([work([1]), work([1]), wide()], BUDGET, free).shape.columns).toBe(4)
  })

  it('holds the estimate within its budget', () => {
    const bytes = { ...BUDGET, bytes: 25 }
    expect(rangesOf(nextBatch([work([10, 10, 10])], bytes, (size) => size.tokens))).toEqual([[0, 2]])
  })

  it('keeps kinds apart, and those that must be alone', () => {
    const [forward, backward, alone] = [work([3], { backward: false }), work([4]), work([5], { alone: true })]
    expect(nextBatch([forward, backward, work([6], { backward: false })], BUDGET, free).shape.tokens).toBe(9)
    expect(nextBatch([alone, backward], BUDGET, free).shape.tokens).toBe(5)
    expect(nextBatch([backward, alone, work([7])], BUDGET, free).shape.tokens).toBe(4)
  })

  it('lets no work overtake one of its own adapter that is of another kind', () => {
    const [leader, forward] = [work([4]), work([3], { backward: false })]
    const later = { ...work([5]), weights: forward.weights }
    expect(nextBatch([leader, forward, later, work([6])], BUDGET, free).shape.tokens).toBe(10)
  })
})

describe('a batch', () => {
  const lengths = fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1, maxLength: 6 })

  it('gives every token one place in its span and every row one token, and a record repeats them', () => {
    fc.assert(
      fc.property(fc.array(lengths, { minLength: 1, maxLength: 4 }), (all) => {
        const { shape, parts } = nextBatch(
          all.map((l) => work(l)),
          { ...BUDGET, tokens: 400 },
          free,
        )
        const tables = { cos: { data: new Float32Array(0), dims: [0] }, sin: { data: new Float32Array(0), dims: [0] } }
        const feeds = batchFeeds({ shape, parts }, 'float32', tables, { hidden: 1 })
        const values = (name: string) => [...(feeds[name]?.data ?? [])].map(Number)
        const [layout, place, graded, scored] = ['layout', 'place', 'graded', 'scored'].map(values) as number[][]
        expect(place?.map((p) => layout?.[p])).toEqual(Array.from({ length: shape.tokens }, (_, i) => i))
        expect(new Set(graded).size).toBe(shape.graded)
        const rows = new Set([...(graded ?? []), ...(scored ?? [])])
        expect(rows.size).toBe(shape.tokens)
        for (const part of parts) {
          const record = JSON.parse(JSON.stringify(batchRecord(shape, part.place)))
          expect(recordedBatch(record, part.work)).toEqual({ shape, parts: [part] })
          const alone = batchFeeds(recordedBatch(record, part.work), 'float32', tables, { hidden: 1 })
          expect(alone.layout).toEqual(feeds.layout)
          expect(new Set([...(alone.graded?.data ?? [])]).size).toBe(shape.graded)
        }
      }),
      { numRuns: 60 },
    )
  })
})
