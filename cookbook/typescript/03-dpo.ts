// 03 DPO: pairs of a chosen and a rejected answer. The loss is computed here, from log-probabilities that the server gives, and
// its slopes go back as weights. Direct Preference Optimization: Rafailov et al. 2023, equation 7.
//
//     npx tsx cookbook/typescript/03-dpo.ts

import { ServiceClient, supervisedDatum } from '../../src/client/tinker/index.ts'
import { Chat, mean } from './chat.ts'

const STEPS = 12
const BETA = 0.1
const QUESTIONS = [
  'What is 3 + 4?',
  'What is 9 + 2?',
  'What is 12 + 5?',
  'What is 8 + 8?',
  'What is 6 + 1?',
  'What is 7 + 13?',
]
const [CHOSEN, REJECTED] = ['I would rather not say.', 'It is easy to say.']

const service = new ServiceClient()
const training = await service.createLoraTrainingClient({ baseModel: 'twinkle/tiny', rank: 16, seed: 3 })
const chat = await Chat.of(training)

// Chosen and rejected by turns.
const data = QUESTIONS.flatMap((question) =>
  [CHOSEN, REJECTED].map((text) => supervisedDatum({ prompt: chat.prompt(question), completion: chat.answer(text) })),
)
const weightsOf = (i: number) => data[i]!.lossFnInputs.weights as readonly number[]
const scoreOf = (logprobs: ArrayLike<number>, i: number) =>
  weightsOf(i).reduce((sum, weight, t) => sum + weight * logprobs[t]!, 0)

// Before the first step the adapter changes nothing: these are the base model's.
const reference = (await training.forward(data, 'cross_entropy')).lossFnOutputs.map(({ logprobs }, i) =>
  scoreOf(logprobs!.data as ArrayLike<number>, i),
)

for (let step = 1; step <= STEPS; step++) {
  const margins: number[] = []
  const forwardBackward = training.forwardBackwardCustom(data, (_, logprobs) => {
    const ratios = logprobs.map((row, i) => scoreOf(row, i) - reference[i]!)
    let loss = 0
    const gradients = logprobs.map((row) => Array.from(row, () => 0))
    for (let i = 0; i < ratios.length; i += 2) {
      const margin = BETA * (ratios[i]! - ratios[i + 1]!)
      margins.push(margin)
      loss += Math.log1p(Math.exp(-margin)) / QUESTIONS.length
      const slope = -BETA / (1 + Math.exp(margin)) / QUESTIONS.length
      gradients[i] = weightsOf(i).map((weight) => slope * weight)
      gradients[i + 1] = weightsOf(i + 1).map((weight) => -slope * weight)
    }
    return { loss, gradients }
  })
  const { metrics } = await forwardBackward
  await training.optimStep({ learningRate: 3e-4 })
  console.log(`step ${step}  loss ${metrics['loss:sum']!.toFixed(4)}  margin ${mean(margins).toFixed(3)}`)
}

const after = (await training.forward(data, 'cross_entropy')).lossFnOutputs.map(({ logprobs }, i) =>
  scoreOf(logprobs!.data as ArrayLike<number>, i),
)
const preferred = QUESTIONS.filter((_, i) => after[2 * i]! > after[2 * i + 1]!).length
const preferredBefore = QUESTIONS.filter((_, i) => reference[2 * i]! > reference[2 * i + 1]!).length
console.log(
  `chosen is likelier: ${preferredBefore} of ${QUESTIONS.length} before, ${preferred} of ${QUESTIONS.length} after`,
)
await service.close()
