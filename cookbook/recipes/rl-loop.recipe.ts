import { afterAll, beforeAll, expect, it } from 'vitest'
import { column, commandsOf, Kitchen, mean } from './kitchen.ts'

const [COMMANDS = ''] = commandsOf('Reinforcement learning loop')
let kitchen: Kitchen

beforeAll(async () => {
  kitchen = await Kitchen.open()
})
afterAll(() => kitchen?.close())

it('is rewarded more and more, from a fine-tuned model on', async () => {
  await kitchen.run(COMMANDS)
  const rewards = column(kitchen.metrics('runs/rl'), 'reward/total')
  expect(rewards).toHaveLength(12)
  expect(mean(rewards.slice(-4))).toBeGreaterThan(mean(rewards.slice(0, 4)) + 0.2)
})

it('is told which losses there are when it asks for the one that is not public', async () => {
  const [, loop = ''] = COMMANDS.split(/^(?=python -m tinker_cookbook.recipes.rl_loop)/m)
  const wanted = loop.replace('loss_fn=importance_sampling', '').replace('runs/rl', 'runs/refused')
  await expect(kitchen.run(wanted)).rejects.toThrow(/stable_reinforce.* importance_sampling/)
})
