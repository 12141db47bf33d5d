// 06 Bring your own backend: the same client and the same calls, computed by a module of yours. Here it is the one of
// cookbook/backends/bigram, a table of which character follows which, with a trainable low-rank change of it.
//
//     node cookbook/backends/bigram/make-model.mjs
//     npm run twinkle -- serve --config cookbook/backends/bigram/server_config.yaml
//     npx tsx cookbook/typescript/06-own-backend.ts

import { ModelInput, ServiceClient, supervisedDatum } from '../../src/client/tinker/index.ts'

const STEPS = 20
const LESSON = 'abcdefghijk'

const service = new ServiceClient()
const training = await service.createLoraTrainingClient({ baseModel: 'cookbook/bigram', rank: 8, seed: 7 })
const tokenizer = await training.getTokenizer()
const tokens = tokenizer.encode(LESSON)
const data = [supervisedDatum({ prompt: tokens.slice(0, 1), completion: tokens.slice(1) })]

async function goOn(): Promise<string> {
  const sampler = await training.saveWeightsAndGetSamplingClient()
  const prompt = ModelInput.fromInts(tokens.slice(0, 1))
  const samplingParams = { maxTokens: tokens.length - 1, temperature: 0 }
  const { sequences } = await sampler.sample({ prompt, samplingParams })
  return JSON.stringify(tokenizer.decode([...tokens.slice(0, 1), ...sequences[0]!.tokens]))
}

console.log('before:', await goOn())
for (let step = 1; step <= STEPS; step++) {
  const forwardBackward = training.forwardBackward(data, 'cross_entropy')
  const optimStep = training.optimStep({ learningRate: 0.03 })
  const { metrics } = await forwardBackward
  await optimStep
  if (step % 5 === 0 || step === 1) console.log(`step ${step}  loss ${metrics['loss:sum']!.toFixed(3)}`)
}
console.log('after: ', await goOn())
await service.close()
