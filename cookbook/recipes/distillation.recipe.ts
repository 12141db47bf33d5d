import { afterAll, beforeAll, expect, it } from 'vitest'
import { column, commandsOf, Kitchen, mean } from './kitchen.ts'

const [COMMANDS = ''] = commandsOf('On-policy distillation')
let kitchen: Kitchen

beforeAll(async () => {
  kitchen = await Kitchen.open()
})
afterAll(() => kitchen?.close())

it('comes closer to its teacher on its own answers', async () => {
  await kitchen.run(COMMANDS)
  const distances = column(kitchen.metrics('runs/distilled'), 'teacher_kl')
  expect(distances).toHaveLength(12)
  expect(mean(distances.slice(0, 2))).toBeGreaterThan(0.6)
  expect(mean(distances.slice(-3))).toBeLessThan(0.35)
})
