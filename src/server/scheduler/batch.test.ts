import { describe, expect, it } from 'vitest'
import { AdapterQueue } from './adapter-queue.ts'
import { nextBatch, type Schedulable, type Turns } from './batch.ts'

interface Op extends Schedulable {
  readonly name: string
}
const train = (name: string, tokens = 10): Op => ({ name, batchClass: 'train', cost: tokens })
const optim = (name: string): Op => ({ name, batchClass: 'optim', cost: 0 })
const single = (name: string): Op => ({ name, batchClass: 'single', cost: 0 })

function turns(work: Record<string, Op[]>): Turns<Op> {
  const map: Turns<Op> = new Map()
  for (const [adapter, operations] of Object.entries(work)) {
    const queue = new AdapterQueue<Op>()
    for (const operation of operations) queue.push(operation, 0)
    map.set(adapter, queue)
  }
  return map
}
const names = (batch: Op[]) => batch.map((o) => o.name)

describe('nextBatch', () => {
  it('is empty when nothing is ready', () => {
    expect(nextBatch(turns({ a: [] }), 100)).toEqual([])
  })

  it('packs the training passes of many adapters together and stops each at its first other operation', () => {
    const work = turns({ a: [train('a1'), train('a2'), optim('a3'), train('a4')], b: [train('b1')], c: [optim('c1')] })
    expect(names(nextBatch(work, 100))).toEqual(['a1', 'a2', 'b1'])
    // c has waited longest now; a's step is of the same kind and goes along.
    expect(names(nextBatch(work, 100))).toEqual(['c1', 'a3'])
    expect(names(nextBatch(work, 100))).toEqual(['a4'])
  })

  it('never splits the order of one adapter and takes an operation over the budget alone', () => {
    const work = turns({ a: [train('big', 500), train('a2')], b: [train('b1')] })
    expect(names(nextBatch(work, 100))).toEqual(['big'])
    expect(names(nextBatch(work, 100))).toEqual(['b1', 'a2'])
  })

  it('carries out single operations one at a time', () => {
    const work = turns({ a: [single('save')], b: [single('load')] })
    expect(names(nextBatch(work, 100))).toEqual(['save'])
    expect(names(nextBatch(work, 100))).toEqual(['load'])
  })

  it('serves a short adapter after at most one batch of a busy one, among a thousand', () => {
    const busy = Object.fromEntries(
      Array.from({ length: 1000 }, (_, i) => [
        `busy${i}`,
        Array.from({ length: 20 }, (_, j) => train(`busy${i}.${j}`, 60)),
      ]),
    )
    const work = turns({ ...busy, short: [train('short', 1)] })
    let batches = 0
    for (let batch = nextBatch(work, 100); !names(batch).includes('short'); batch = nextBatch(work, 100)) batches++
    expect(batches).toBeLessThanOrEqual(1000)
    let left = 0
    for (let batch = nextBatch(work, 100); batch.length; batch = nextBatch(work, 100)) left += batch.length
    expect(left).toBeGreaterThan(0)
  })
})
