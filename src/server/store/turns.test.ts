import { describe, expect, it } from 'vitest'
import { Turns } from './turns.ts'

describe('Turns', () => {
  it('come in the order in which they were asked for, one at a time', async () => {
    const turns = new Turns()
    const order: string[] = []
    const work = async (name: string) => {
      await turns.take()
      order.push(`${name} begins`)
      await new Promise(setImmediate)
      order.push(`${name} ends`)
      turns.pass()
    }
    await Promise.all([work('a'), work('b'), work('c')])
    expect(order).toEqual(['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends'])
  })

  it('let the event loop turn between two of them when the slice is used up', async () => {
    const countLoops = async (sliceMs: number) => {
      const turns = new Turns(sliceMs)
      let loops = 0
      let isOver = false
      const count = () => {
        loops++
        if (!isOver) setImmediate(count)
      }
      setImmediate(count)
      const work = async () => {
        await turns.take()
        turns.pass()
      }
      await Promise.all(Array.from({ length: 50 }, work))
      isOver = true
      return loops
    }
    expect(await countLoops(0)).toBeGreaterThanOrEqual(48)
    expect(await countLoops(60_000)).toBe(0)
  })
})
