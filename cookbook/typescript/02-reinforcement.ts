// 02 Reinforcement learning with a verifiable reward: each sum is answered a few times, an answer is worth 1 when it is right,
// and what did better than the others of its group becomes likelier.
//
//     npx tsx cookbook/typescript/02-reinforcement.ts

import { policyDatum, type SamplingClient, ServiceClient } from '../../src/client/tinker/index.ts'
import { Chat, mean, randomOf } from './chat.ts'

const STEPS = 16
const GROUPS = 8
const GROUP_SIZE = 16
const LARGEST = 20

interface Problem {
  readonly question: string
  readonly answer: string
}

const problemsOf = (random: () => number) => (): Problem => {
  const [a, b] = [0, 0].map(() => Math.floor(random() * (LARGEST + 1))) as [number, number]
  return { question: `What is ${a} + ${b}?`, answer: String(a + b) }
}

const service = new ServiceClient()
const training = await service.createLoraTrainingClient({ baseModel: 'twinkle/tiny', rank: 16, seed: 2 })
const chat = await Chat.of(training)

const rewardOf = (text: string, { answer }: Problem) => (text.trim() === answer ? 1 : 0)

/** Mean reward of one answer to each of 64 sums. */
async function examine(sampler: SamplingClient): Promise<number> {
  const exam = Array.from({ length: 64 }, problemsOf(randomOf(99)))
  const rewards = exam.map(async (problem, seed) => {
    const [sequence] = await chat.draw(sampler, problem.question, 1, { maxTokens: 8, temperature: 1, seed })
    return rewardOf(chat.text(sequence!.tokens), problem)
  })
  return mean(await Promise.all(rewards))
}

/** Answers to one problem, as training data, and their mean reward. */
async function rollOut(sampler: SamplingClient, problem: Problem, seed: number) {
  const sequences = await chat.draw(sampler, problem.question, GROUP_SIZE, { maxTokens: 8, temperature: 1, seed })
  const rewards = sequences.map(({ tokens }) => rewardOf(chat.text(tokens), problem))
  const baseline = mean(rewards)
  // A group that agrees with itself teaches nothing.
  const isTelling = rewards.some((reward) => reward !== baseline)
  const data = sequences.map(({ tokens, logprobs }, i) =>
    policyDatum({
      prompt: chat.prompt(problem.question),
      completion: tokens,
      logprobs: logprobs!,
      advantages: rewards[i]! - baseline,
    }),
  )
  return { reward: baseline, data: isTelling ? data : [] }
}

let sampler = await training.saveWeightsAndGetSamplingClient()
console.log('right before:', (await examine(sampler)).toFixed(2))
const draw = problemsOf(randomOf(7))
for (let step = 1; step <= STEPS; step++) {
  const groups = Array.from({ length: GROUPS }, (_, i) => rollOut(sampler, draw(), step * GROUPS + i))
  const rolled = await Promise.all(groups)
  const data = rolled.flatMap((group) => group.data)
  if (data.length > 0) {
    const forwardBackward = training.forwardBackward(data, 'importance_sampling')
    const optimStep = training.optimStep({ learningRate: 2e-3 })
    const next = training.saveWeightsAndGetSamplingClient()
    await Promise.all([forwardBackward, optimStep])
    sampler = await next
  }
  console.log(`step ${step}  reward ${mean(rolled.map(({ reward }) => reward)).toFixed(2)}`)
}
console.log('right after: ', (await examine(sampler)).toFixed(2))
await service.close()
