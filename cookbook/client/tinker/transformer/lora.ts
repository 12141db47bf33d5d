// Teaches a model Pig Latin with a LoRA adapter, through the Tinker SDK for TypeScript: the twin of lora.py.
//
//     npx tsx cookbook/client/tinker/transformer/server.ts          in a terminal of its own
//     npx tsx cookbook/client/tinker/transformer/lora.ts [BASE_MODEL]
//
// It saves after every epoch; run again, it goes on after the last one that was saved, and with nothing left to train it only
// samples and evaluates. TWINKLE_SERVER_URL, TWINKLE_SERVER_TOKEN and TWINKLE_MODEL_ID say where, who and on what, EPOCHS how
// long. In a project of your own the imports are 'twinkle-ts/tinker' and 'twinkle-ts/patch'.

import { readFileSync } from 'node:fs'
import {
  ModelInput,
  type ServedTokenizer,
  type ServiceClient,
  supervisedDatum,
} from '../../../../src/client/tinker/index.ts'
import { initTinkerCompatClient } from '../../../../src/patch/index.ts'

const BASE_MODEL = process.argv[2] ?? process.env.TWINKLE_MODEL_ID ?? 'twinkle/tiny'
const NAME = 'pig-latin'
const EPOCHS = Number(process.env.EPOCHS ?? 5)
const ROUNDS = 6
const LEARNING_RATE = 4e-3
const ROWS = readFileSync(new URL('pig_latin.jsonl', import.meta.url), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as { english: string; pig_latin: string })

/** What was saved last, and after which epoch. */
async function lastCheckpoint(service: ServiceClient): Promise<{ path: string | null; done: number }> {
  const { checkpoints } = await service.createRestClient().listUserCheckpoints({ limit: 1000 })
  const newestFirst = [...checkpoints].sort((a, b) => b.time.localeCompare(a.time))
  for (const { checkpointId, tinkerPath } of newestFirst) {
    const epoch = new RegExp(`^weights/${NAME}-epoch-(\\d+)$`).exec(checkpointId)?.[1]
    if (epoch !== undefined) return { path: tinkerPath, done: Number(epoch) }
  }
  return { path: null, done: 0 }
}

const promptOf = (tokenizer: ServedTokenizer, english: string) => tokenizer.encode(`English: ${english}\nPig Latin:`)

const service = initTinkerCompatClient()
const { supportedModels } = await service.getServerCapabilities()
console.log('models:', supportedModels.map(({ modelName }) => modelName).join(', '))
const { path, done } = await lastCheckpoint(service)
if (path !== null) console.log(`resume: epoch ${done} from ${path}`)
const training =
  path === null
    ? await service.createLoraTrainingClient({ baseModel: BASE_MODEL, rank: 16 })
    : await service.createTrainingClientFromStateWithOptimizer(path)
const tokenizer = await training.getTokenizer()
const data = ROWS.map(({ english, pig_latin }) =>
  supervisedDatum({ prompt: promptOf(tokenizer, english), completion: tokenizer.encode(` ${pig_latin}\n`) }),
)
const weight = ROWS.reduce((sum, { pig_latin }) => sum + tokenizer.encode(` ${pig_latin}\n`).length, 0)

for (let epoch = done + 1; epoch <= EPOCHS; epoch++) {
  let loss = Number.NaN
  for (let round = 0; round < ROUNDS; round++) {
    // Both are on their way before the first result is there: the server never waits for this script.
    const forwardBackward = training.forwardBackward(data, 'cross_entropy')
    const optimStep = training.optimStep({ learningRate: LEARNING_RATE })
    loss = (await forwardBackward).metrics['loss:sum']! / weight
    await optimStep
  }
  const saved = await training.saveState(`${NAME}-epoch-${epoch}`)
  console.log(`epoch ${epoch}  loss ${loss.toFixed(4)}  saved ${saved.path}`)
}

const { path: weights } = await training.saveWeightsForSampler(NAME)
const sampler = await service.createSamplingClient({ modelPath: weights })
const samplingParams = { maxTokens: 24, temperature: 0, stop: ['\n'] }
const answers = await Promise.all(
  ROWS.map(async ({ english }) => {
    const prompt = ModelInput.fromInts(promptOf(tokenizer, english))
    const { sequences } = await sampler.sample({ prompt, samplingParams })
    return tokenizer.decode(sequences[0]!.tokens).trim()
  }),
)
for (const [i, { english }] of ROWS.entries()) console.log(`${english} -> ${answers[i]}`)
console.log(`right: ${ROWS.filter(({ pig_latin }, i) => pig_latin === answers[i]).length} of ${ROWS.length}`)
console.log(`weights: ${weights}`)
await service.close()
