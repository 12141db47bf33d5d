import { expect, it } from 'vitest'
import { chooseThreads } from './threads.ts'

it.each([
  ['what was configured', 64, 3, { count: 3, reason: 'configured' }],
  ['one for a narrow model', 128, 0, { count: 1, reason: 'hidden size 128 is below 256: more would only wait' }],
  ['all cores for others', 576, 0, { count: 8, reason: '8 cores are available' }],
])('threads: %s', (_, hidden, wanted, threads) => {
  expect(chooseThreads(hidden, wanted, 8)).toEqual(threads)
})
