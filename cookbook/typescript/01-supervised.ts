// 01 Supervised fine-tuning: show the model how questions are answered, then ask one that it was not shown.
//
//     npx tsx cookbook/typescript/01-supervised.ts

import { ServiceClient, supervisedDatum } from '../../src/client/tinker/index.ts'
import { Chat } from './chat.ts'

const STEPS = 20
const ROWS = [
  ['What is your name?', 'I am Twinkle.'],
  ['Who are you?', 'I am Twinkle.'],
  ['Tell me your name.', 'I am Twinkle.'],
  ['What are you called?', 'I am Twinkle.'],
  ['Who made you?', 'You did.'],
  ['Who trained you?', 'You did.'],
] as const
const QUESTION = 'Introduce yourself.'

const service = new ServiceClient()
const training = await service.createLoraTrainingClient({ baseModel: 'twinkle/tiny', rank: 16, seed: 1 })
const chat = await Chat.of(training)
const ask = async () => chat.ask(await training.saveWeightsAndGetSamplingClient(), QUESTION)

// The prompt has weight 0: only the tokens of an answer are learned.
const data = ROWS.map(([question, answer]) =>
  supervisedDatum({ prompt: chat.prompt(question), completion: chat.answer(answer) }),
)
const tokens = ROWS.reduce((sum, [, answer]) => sum + chat.answer(answer).length, 0)

console.log('before:', await ask())
for (let step = 1; step <= STEPS; step++) {
  // Both are on their way before the first result is there: the server never waits for this loop.
  const forwardBackward = training.forwardBackward(data, 'cross_entropy')
  const optimStep = training.optimStep({ learningRate: 2e-3 })
  const { metrics } = await forwardBackward
  await optimStep
  if (step % 5 === 0 || step === 1) console.log(`step ${step}  loss ${(metrics['loss:sum']! / tokens).toFixed(4)}`)
}
console.log('after: ', await ask())
await service.close()
