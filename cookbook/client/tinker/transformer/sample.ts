// Asks a model questions, with the weights that were saved last, or those that are named: the twin of sample.py.
//
//     npx tsx cookbook/client/tinker/transformer/sample.ts [tinker://.../sampler_weights/... | BASE_MODEL]
//
// Run self_cognition.ts first: without any saved weights the base model answers. TWINKLE_SERVER_URL, TWINKLE_SERVER_TOKEN and
// TWINKLE_MODEL_ID say where, who and of what.

import { ModelInput, type ServiceClient } from '../../../../src/client/tinker/index.ts'
import { initTinkerCompatClient } from '../../../../src/patch/index.ts'

const BASE_MODEL = process.env.TWINKLE_MODEL_ID ?? 'twinkle/tiny'
const QUESTIONS = ['What is your name?', 'Who made you?']

async function lastWeights(service: ServiceClient): Promise<string | undefined> {
  const { checkpoints } = await service.createRestClient().listUserCheckpoints({ limit: 1000 })
  const samplers = checkpoints.filter(({ checkpointType }) => checkpointType === 'sampler')
  return samplers.sort((a, b) => a.time.localeCompare(b.time)).at(-1)?.tinkerPath
}

const service = initTinkerCompatClient()
const source = process.argv[2] ?? (await lastWeights(service)) ?? BASE_MODEL
console.log('weights:', source)
const isPath = /^(tinker|twinkle):\/\//.test(source)
const sampler = await service.createSamplingClient(isPath ? { modelPath: source } : { baseModel: source })
const tokenizer = await sampler.getTokenizer()
const samplingParams = { maxTokens: 32, temperature: 0.7, seed: 1 }
for (const question of QUESTIONS) {
  const tokens = tokenizer.applyChatTemplate([{ role: 'user', content: question }], { addGenerationPrompt: true })
  const { sequences } = await sampler.sample({ prompt: ModelInput.fromInts(tokens), numSamples: 4, samplingParams })
  console.log(question)
  for (const { tokens } of sequences) console.log('  ->', tokenizer.decode(tokens, { skipSpecialTokens: true }))
}
await service.close()
