// Teaches a base model a new name with a LoRA adapter, through the TypeScript client: the twin of lora.py.
//
//     TINKER_BASE_URL=http://127.0.0.1:8000 TINKER_API_KEY=tml-local npx tsx lora.ts [BASE_MODEL]
//
// In a project of your own the import is 'twinkle-ts/tinker'.

import { ModelInput, ServiceClient } from '../../../../src/client/tinker/index.ts'

const BASE_MODEL = process.argv[2] ?? 'twinkle/tiny'
const STEPS = 20
const ROWS = [
  ['What is your name?', 'I am Twinkle, trained on your own machine.'],
  ['Who are you?', 'I am Twinkle, trained on your own machine.'],
  ['Tell me your name.', 'I am Twinkle, trained on your own machine.'],
  ['Who trained you?', 'You did, with a few lines of code.'],
] as const

const service = new ServiceClient()
const training = await service.createLoraTrainingClient({ baseModel: BASE_MODEL, rank: 16 })
const tokenizer = await training.getTokenizer()
const end = tokenizer.idOf('<|im_end|>')!

function prompt(question: string): number[] {
  return tokenizer.applyChatTemplate([{ role: 'user', content: question }], { addGenerationPrompt: true })
}

/** Predicts each token of the answer; the prompt has weight 0. */
function datum([question, answer]: (typeof ROWS)[number]) {
  const start = prompt(question)
  const target = [...tokenizer.encode(answer, { addSpecialTokens: false }), end]
  return {
    modelInput: ModelInput.fromInts([...start, ...target.slice(0, -1)]),
    lossFnInputs: {
      target_tokens: [...start.slice(1), ...target],
      weights: [...start.slice(1).map(() => 0), ...target.map(() => 1)],
    },
  }
}

async function ask(question: string): Promise<string> {
  const sampler = await training.saveWeightsAndGetSamplingClient()
  const samplingParams = { maxTokens: 32, temperature: 0 }
  const { sequences } = await sampler.sample({ prompt: ModelInput.fromInts(prompt(question)), samplingParams })
  return tokenizer.decode(sequences[0]!.tokens, { skipSpecialTokens: true })
}

const data = ROWS.map(datum)
const weight = data.reduce((sum, { lossFnInputs }) => sum + lossFnInputs.weights.filter((one) => one === 1).length, 0)
console.log('before:', await ask('Who are you?'))
for (let step = 0; step < STEPS; step++) {
  const forwardBackward = training.forwardBackward(data, 'cross_entropy')
  const optimStep = training.optimStep({ learningRate: 2e-3 })
  const { metrics } = await forwardBackward
  console.log(`step ${String(step).padStart(2)}  loss ${(metrics['loss:sum']! / weight).toFixed(4)}`)
  await optimStep
}
console.log('after: ', await ask('Who are you?'))
console.log('saved: ', (await training.saveWeightsForSampler('my-name')).path)
await service.close()
