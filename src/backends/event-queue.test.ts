import sinon from 'sinon'
import { describe, expect, it } from 'vitest'
import { EventQueue } from './event-queue.ts'

describe('EventQueue', () => {
  it('delivers what came before and after the consumer asked, then ends', async () => {
    const queue = new EventQueue<number>()
    queue.push(1)
    const all = (async () => {
      const seen: number[] = []
      for await (const event of queue) seen.push(event)
      return seen
    })()
    await Promise.resolve()
    queue.push(2)
    queue.end()
    queue.push(3)
    expect(await all).toEqual([1, 2])
  })

  it('throws an error after the events before it', async () => {
    const queue = new EventQueue<number>()
    queue.push(1)
    queue.fail(new Error('gone'))
    queue.end()
    expect(await queue.next()).toEqual({ done: false, value: 1 })
    await expect(queue.next()).rejects.toThrow('gone')
    expect((await queue.next()).done).toBe(true)
  })

  it('tells the producer once when it is over, also when the consumer stops early', async () => {
    const stopped = sinon.fake()
    const queue = new EventQueue<number>(stopped)
    queue.push(1)
    queue.push(2)
    for await (const _ of queue) break
    expect(stopped.callCount).toBe(1)
    expect(queue.ended).toBe(true)

    const ended = sinon.fake()
    const finished = new EventQueue<number>(ended)
    finished.end()
    finished.fail(new Error('too late'))
    for await (const _ of finished) throw new Error('no event was pushed')
    await finished.return()
    expect(ended.callCount).toBe(1)
  })
})
