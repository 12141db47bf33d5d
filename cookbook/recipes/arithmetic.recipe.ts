import { afterAll, beforeAll, expect, it } from 'vitest'
import { column, commandsOf, Kitchen, mean } from './kitchen.ts'

const [COMMAND = ''] = commandsOf('Arithmetic environment')
let kitchen: Kitchen

beforeAll(async () => {
  kitchen = await Kitchen.open()
})
afterAll(() => kitchen?.close())

it('learns sums from rewards alone', async () => {
  await kitchen.run(COMMAND)
  const right = column(kitchen.metrics('runs/arithmetic'), 'env/all/correct')
  expect(right).toHaveLength(14)
  expect(mean(right.slice(0, 3))).toBeLessThan(0.5)
  expect(mean(right.slice(-3))).toBeGreaterThan(0.75)
})
