// 04 On-policy distillation: the student answers, the teacher says how likely it finds each token, and the difference is the
// student's advantage, token by token. The student never sees the teacher's data.
//
//     npx tsx cookbook/typescript/04-distillation.ts

import {
  ModelInput,
  policyDatum,
  type SamplingClient,
  ServiceClient,
  supervisedDatum,
} from '../../src/client/tinker/index.ts'
import { Chat, mean, randomOf } from './chat.ts'

const STEPS = 12
const GROUPS = 8
const GROUP_SIZE = 8
const LARGEST = 9

const service = new ServiceClient()

/** A fine-tuned checkpoint that can do sums. */
async function makeTeacher(): Promise<SamplingClient> {
  const training = await service.createLoraTrainingClient({ baseModel: 'twinkle/tiny', rank: 16, seed: 4 })
  const chat = await Chat.of(training)
  const pairs = Array.from({ length: 100 }, (_, i) => [Math.floor(i / 10), i % 10] as const)
  const data = pairs.map(([a, b]) =>
    supervisedDatum({ prompt: chat.prompt(`What is ${a} + ${b}?`), completion: chat.answer(String(a + b)) }),
  )
  for (let step = 0; step < 10; step++) {
    const forwardBackward = training.forwardBackward(data, 'cross_entropy')
    const optimStep = training.optimStep({ learningRate: 2e-3 })
    await Promise.all([forwardBackward, optimStep])
  }
  return training.saveWeightsAndGetSamplingClient()
}

const teacher = await makeTeacher()
const training = await service.createLoraTrainingClient({ baseModel: 'twinkle/tiny', rank: 16, seed: 5 })
const chat = await Chat.of(training)
const random = randomOf(11)
const drawSum = () => [0, 0].map(() => Math.floor(random() * (LARGEST + 1))) as [number, number]

/** Answers of the student to one question, as training data, with the reverse KL of every token. */
async function rollOut(student: SamplingClient, seed: number) {
  const [a, b] = drawSum()
  const question = `What is ${a} + ${b}?`
  const prompt = chat.prompt(question)
  const sequences = await chat.draw(student, question, GROUP_SIZE, { maxTokens: 8, temperature: 1, seed })
  const graded = sequences.map(async ({ tokens, logprobs }) => {
    const said = await teacher.computeLogprobs(ModelInput.fromInts([...prompt, ...tokens]))
    const kl = logprobs!.map((logprob, t) => logprob - said[prompt.length + t]!)
    const advantages = kl.map((difference) => -difference)
    const isRight = chat.text(tokens).trim() === String(a + b)
    return { kl, isRight, datum: policyDatum({ prompt, completion: tokens, logprobs: logprobs!, advantages }) }
  })
  return Promise.all(graded)
}

for (let step = 1; step <= STEPS; step++) {
  const student = await training.saveWeightsAndGetSamplingClient()
  const groups = Array.from({ length: GROUPS }, (_, i) => rollOut(student, step * GROUPS + i))
  const rolled = (await Promise.all(groups)).flat()
  const forwardBackward = training.forwardBackward(
    rolled.map(({ datum }) => datum),
    'importance_sampling',
  )
  const optimStep = training.optimStep({ learningRate: 2e-3 })
  await Promise.all([forwardBackward, optimStep])
  const right = mean(rolled.map(({ isRight }) => (isRight ? 1 : 0)))
  console.log(`step ${step}  teacher_kl ${mean(rolled.flatMap(({ kl }) => kl)).toFixed(3)}  right ${right.toFixed(2)}`)
}
await service.close()
