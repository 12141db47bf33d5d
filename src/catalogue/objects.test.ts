import { expect, it } from 'vitest'
import { TestWorld } from './testing/world.ts'

const chat = (content: string) => ({
  messages: [
    { role: 'user', content: 'Q' },
    { role: 'assistant', content },
  ],
})

it('preprocessors, processors, rewards and templates are called by name', async () => {
  const world = new TestWorld()
  const preprocessor = await world.make('preprocessor', 'AlpacaProcessor')
  expect(await world.call(preprocessor, '__call__', { rows: [{ instruction: 'Q', output: 'A' }] })).toEqual([chat('A')])
  const processor = await world.make('processor', 'InputProcessor', { device_mesh: null, framework: 'transformers' })
  expect(await world.call(processor, '__call__', { inputs: [{ input_ids: [1] }] })).toMatchObject([{ input_ids: [1] }])
  const reward = await world.make('reward', 'MathReward')
  expect(await world.call(reward, '__call__', { trajectories: [chat('4')], ground_truths: [chat('2^2')] })).toEqual([1])
  const template = await world.make('template', 'Template', { model_id: 'x' })
  const { input_ids: ids } = await world.call(template, 'encode', { trajectory: chat('A') })
  expect(await world.call(template, 'decode', { token_ids: ids })).toContain('<|im_start|>assistant\nA<|im_end|>')
  expect(await world.call(template, 'batch_encode', { trajectories: [chat('A'), chat('B')] })).toHaveLength(2)
})

it.each<[string, string, object, string]>([
  ['kernel', 'X', {}, 'There is no processor type "kernel".'],
  ['__proto__', 'X', {}, 'There is no processor type "__proto__".'],
  ['dataset', 'MyDataset', {}, 'There is no data set "MyDataset".'],
  ['dataloader', 'MyLoader', {}, 'There is no loader "MyLoader".'],
  ['weight_loader', 'X', {}, 'The weight loader "X" is not done here'],
  ['reward', 'MathReward', { code: 'x' }, 'The reward MathReward has no argument "code".'],
])('%s %s is refused by name', async (type, name, kwargs, message) => {
  await expect(new TestWorld().make(type, name, { ...kwargs })).rejects.toThrow(message)
})

it('arguments of a call are named where they are wrong', async () => {
  const world = new TestWorld()
  const reward = await world.make('reward', 'MathReward')
  await expect(world.call(reward, '__call__', { trajectories: 'x' })).rejects.toThrow('cannot take trajectories = "x"')
  await expect(world.call(reward, '__call__', { trajectories: [], self: 1 })).rejects.toThrow('has no argument "self"')
})
