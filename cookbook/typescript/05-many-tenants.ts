// 05 Many tenants at once: each has a key, an adapter and a lesson of its own; one engine packs their work into the same batches.
// Nobody's weights change another's, and nobody can reach another's checkpoints.
//
//     npx tsx cookbook/typescript/05-many-tenants.ts

import { NotFoundError, ServiceClient, supervisedDatum } from '../../src/client/tinker/index.ts'
import { Chat } from './chat.ts'

const TENANTS = ['anna', 'ben', 'carla', 'deniz', 'elif', 'femi']
const STEPS = 20
const QUESTIONS = ['What is your name?', 'Who are you?', 'Tell me your name.']

async function trainAs(tenant: string) {
  const service = new ServiceClient({ apiKey: `tml-${tenant}` })
  const training = await service.createLoraTrainingClient({ baseModel: 'twinkle/tiny', rank: 8, seed: 6 })
  const chat = await Chat.of(training)
  const completion = chat.answer(`I work for ${tenant}.`)
  const data = QUESTIONS.map((question) => supervisedDatum({ prompt: chat.prompt(question), completion }))
  for (let step = 0; step < STEPS; step++) {
    const forwardBackward = training.forwardBackward(data, 'cross_entropy')
    const optimStep = training.optimStep({ learningRate: 4e-3 })
    await Promise.all([forwardBackward, optimStep])
  }
  const { path } = await training.saveWeightsForSampler('mine')
  return { tenant, service, path, chat }
}

const start = performance.now()
const trained = await Promise.all(TENANTS.map(trainAs))
const seconds = (performance.now() - start) / 1000
console.log(`${TENANTS.length} tenants trained ${STEPS} steps each in ${seconds.toFixed(1)} s`)
for (const { tenant, service, path, chat } of trained) {
  console.log(`${tenant}: ${await chat.ask(await service.createSamplingClient({ modelPath: path }), QUESTIONS[1]!)}`)
}

const [anna, ben] = trained
const sampler = ben!.service.createSamplingClient({ modelPath: anna!.path })
const answer = await sampler.then(
  () => 'it was let in',
  (error: unknown) => {
    if (error instanceof NotFoundError) return 'there is no such checkpoint'
    throw error
  },
)
console.log(`ben asks for anna's weights: ${answer}`)
await Promise.all(trained.map(({ service }) => service.close()))
