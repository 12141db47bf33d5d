import { expect, it } from 'vitest'
import { TurnTaking } from './turn-taking.ts'

it('serves owners in turn and each in its order, so that many requests of one hold nobody back', () => {
  const turns = new TurnTaking<string>()
  for (let i = 0; i < 100; i++) turns.push('busy', `busy ${i}`)
  turns.push('late', 'late 0')
  turns.push('late', 'late 1')
  expect(Array.from({ length: 5 }, () => turns.next())).toEqual(['busy 0', 'late 0', 'busy 1', 'late 1', 'busy 2'])
  expect(turns.size).toBe(97)
})

it('is empty when all have been served', () => {
  const turns = new TurnTaking<number>()
  turns.push('a', 1)
  expect(turns.next()).toBe(1)
  expect(turns.next()).toBeUndefined()
})
