import { afterAll, beforeAll, expect, it } from 'vitest'
import { column, commandsOf, Kitchen, mean } from './kitchen.ts'

const [COMMAND = ''] = commandsOf('Preference training')
let kitchen: Kitchen

beforeAll(async () => {
  kitchen = await Kitchen.open()
})
afterAll(() => kitchen?.close())

it('prefers the chosen answers more and more, compared with a reference that stays as it was', async () => {
  await kitchen.run(COMMAND)
  const rows = kitchen.metrics('runs/dpo')
  const [loss, margin, accuracy] = ['dpo_loss', 'margin', 'accuracy'].map((key) => column(rows, key)) as [
    number[],
    number[],
    number[],
  ]
  expect(rows).toHaveLength(12)
  // Before the first step policy and reference are one, though one is scored by training and the other by sampling.
  expect(loss[0]).toBeCloseTo(Math.log(2), 4)
  expect(margin[0]).toBeCloseTo(0, 4)
  expect(loss.at(-1)).toBeLessThan(0.6)
  expect(margin.at(-1)).toBeGreaterThan(0.2)
  expect(mean(accuracy.slice(-3))).toBeGreaterThan(0.95)
  const chosen = column(rows, 'chosen_reward').at(-1)!
  expect(chosen).toBeGreaterThan(column(rows, 'rejected_reward').at(-1)! + 0.2)
})
