import { afterAll, beforeAll, expect, it } from 'vitest'
import { column, commandsOf, Kitchen } from './kitchen.ts'

const [COMMAND = ''] = commandsOf('Chat fine-tuning with evaluation')
let kitchen: Kitchen

beforeAll(async () => {
  kitchen = await Kitchen.open()
})
afterAll(() => kitchen?.close())

it('fine-tunes a chat, and questions that it has never seen are answered alike', async () => {
  const said = await kitchen.run(COMMAND)
  const rows = kitchen.metrics('runs/chat')
  const [train, test] = [column(rows, 'train_mean_nll'), column(rows, 'test/nll')]
  expect(train).toHaveLength(24)
  expect(train.at(-1)).toBeLessThan(train[0]! / 10)
  expect(test).toHaveLength(4)
  expect(test.at(-1)).toBeLessThan(test[0]! / 4)
  // Rolling checkpoints are deleted on the server as newer ones come; only the final one stays.
  expect(said.match(/Deleted rolling checkpoint/g)).toHaveLength(4)
  expect(said).not.toContain('Failed to delete')
})
