import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { AdapterQueue } from './adapter-queue.ts'

const readyOf = (queue: AdapterQueue<string>) => [...queue.ready]

describe('AdapterQueue', () => {
  it('holds back numbers until every lower one has come, as the SDK posts chunks 2..n before chunk 1', () => {
    const queue = new AdapterQueue<string>()
    queue.push('two', 2)
    queue.push('three', 3)
    expect(readyOf(queue)).toEqual([])
    queue.push('one', 1)
    expect(readyOf(queue)).toEqual(['one', 'two', 'three'])
  })

  it('does not wait for a number whose request was refused, before or after later ones came', () => {
    const queue = new AdapterQueue<string>()
    queue.skip(1)
    queue.push('two', 2)
    queue.push('four', 4)
    queue.skip(3)
    expect(readyOf(queue)).toEqual(['two', 'four'])
  })

  it('refuses a number that had its turn', () => {
    const queue = new AdapterQueue<string>()
    queue.push('one', 1)
    expect(queue.push('again', 1)).toBe(false)
    expect(queue.push('two', 2)).toBe(true)
  })

  it('takes operations without a number in order of arrival', () => {
    const queue = new AdapterQueue<string>()
    queue.push('a', 0)
    queue.push('b', 0)
    expect(queue.take(2)).toEqual(['a', 'b'])
  })

  it('gives back on drain what is ready and what waits', () => {
    const queue = new AdapterQueue<string>()
    queue.push('one', 1)
    queue.push('four', 4)
    queue.push('three', 3)
    expect(queue.drain()).toEqual(['one', 'three', 'four'])
    expect(queue.early).toBe(0)
  })

  it('delivers every accepted number once, in order, whatever the order of arrival and refusals', () => {
    const arrival = fc.uniqueArray(fc.integer({ min: 1, max: 12 }), { minLength: 12, maxLength: 12 })
    fc.assert(
      fc.property(arrival, fc.uniqueArray(fc.integer({ min: 1, max: 12 })), (order, refused) => {
        const queue = new AdapterQueue<string>()
        for (const seq of order) refused.includes(seq) ? queue.skip(seq) : queue.push(`${seq}`, seq)
        const kept = order.filter((seq) => !refused.includes(seq)).sort((a, b) => a - b)
        expect(readyOf(queue)).toEqual(kept.map(String))
      }),
    )
  })
})

it('begins after the numbers that had their turn before it was made', () => {
  const queue = new AdapterQueue<string>()
  queue.skip(5)
  queue.begin(4)
  expect(queue.push('three', 3)).toBe(false)
  expect(queue.push('six', 6)).toBe(true)
  expect(readyOf(queue)).toEqual(['six'])
})
