import { expect, it } from 'vitest'
import { TurnsBetween } from './turns-between.ts'

it('between any two slices of whatever job, others have their turn', async () => {
  const turns = new TurnsBetween()
  const seen: string[] = []
  let isOver = false
  const others = () => {
    seen.push('others')
    if (!isOver) setImmediate(others)
  }
  setImmediate(others)
  const job = async (name: string) => {
    const rest = turns.job()
    for (let piece = 0; piece < 6; piece++) {
      await rest()
      seen.push(name)
      // Longer than a slice.
      const end = performance.now() + 5
      while (performance.now() < end);
    }
  }
  await Promise.all([job('a'), job('b'), job('c')])
  isOver = true
  const neighbours = seen.slice(1).map((what, i) => [seen[i], what])
  expect(seen.filter((what) => what !== 'others')).toHaveLength(18)
  expect(neighbours.filter(([one, next]) => one !== 'others' && next !== 'others')).toEqual([])
})
