// Gives a model a new name and maker, then asks it questions that it was not trained on, with a sampler of its own: the twin of
// self_cognition.py.
//
//     npx tsx cookbook/client/tinker/transformer/server.ts          in a terminal of its own
//     npx tsx cookbook/client/tinker/transformer/self_cognition.ts [NAME AUTHOR]
//
// It saves after every epoch; run again, it goes on after the last one that was saved, and with nothing left to train it only
// evaluates. TWINKLE_SERVER_URL, TWINKLE_SERVER_TOKEN and TWINKLE_MODEL_ID say where, who and on what, EPOCHS how long.

import { readFileSync } from 'node:fs'
import {
  ModelInput,
  type SamplingClient,
  type ServedTokenizer,
  type ServiceClient,
  supervisedDatum,
} from '../../../../src/client/tinker/index.ts'
import { initTinkerCompatClient } from '../../../../src/patch/index.ts'

const BASE_MODEL = process.env.TWINKLE_MODEL_ID ?? 'twinkle/tiny'
const [, , NAME = 'Twinkle', AUTHOR = 'Ada'] = process.argv
const RUN = `self-cognition-${NAME}`
const EPOCHS = Number(process.env.EPOCHS ?? 10)
const BATCH = 4
const LEARNING_RATE = 2e-3

interface Row {
  readonly query: string
  readonly response: string
  readonly split?: 'test'
}

/** Rows with who the model is to be; those with a split are for the exam. */
const ROWS: readonly Row[] = readFileSync(new URL('self_cognition.jsonl', import.meta.url), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line.replaceAll('{{NAME}}', NAME).replaceAll('{{AUTHOR}}', AUTHOR)) as Row)
const LESSONS = ROWS.filter(({ split }) => split === undefined)
const EXAM = ROWS.filter(({ split }) => split === 'test')

/** What was saved last, and after which epoch. */
async function lastCheckpoint(service: ServiceClient): Promise<{ path: string | null; done: number }> {
  const { checkpoints } = await service.createRestClient().listUserCheckpoints({ limit: 1000 })
  const newestFirst = [...checkpoints].sort((a, b) => b.time.localeCompare(a.time))
  for (const { checkpointId, tinkerPath } of newestFirst) {
    const [name, epoch] = checkpointId.split('-epoch-')
    if (name === `weights/${RUN}`) return { path: tinkerPath, done: Number(epoch) }
  }
  return { path: null, done: 0 }
}

function promptOf(tokenizer: ServedTokenizer, question: string): number[] {
  return tokenizer.applyChatTemplate([{ role: 'user', content: question }], { addGenerationPrompt: true })
}

/** Path of the trained weights. */
async function train(service: ServiceClient): Promise<string> {
  const { path, done } = await lastCheckpoint(service)
  if (path !== null) console.log(`resume: epoch ${done} from ${path}`)
  const training =
    path === null
      ? await service.createLoraTrainingClient({ baseModel: BASE_MODEL, rank: 16 })
      : await service.createTrainingClientFromStateWithOptimizer(path)
  const tokenizer = await training.getTokenizer()
  const end = tokenizer.idOf('<|im_end|>')!
  const completions = LESSONS.map(({ response }) => [...tokenizer.encode(response, { addSpecialTokens: false }), end])
  const data = LESSONS.map(({ query }, i) =>
    supervisedDatum({ prompt: promptOf(tokenizer, query), completion: completions[i]! }),
  )
  for (let epoch = done + 1; epoch <= EPOCHS; epoch++) {
    const starts = data.flatMap((_, i) => (i % BATCH === 0 ? [i] : []))
    // A whole epoch is on its way before its first result is there: the server never waits for this script.
    const steps = starts.map((start) => {
      const forwardBackward = training.forwardBackward(data.slice(start, start + BATCH), 'cross_entropy')
      return { forwardBackward, optimStep: training.optimStep({ learningRate: LEARNING_RATE }) }
    })
    let loss = 0
    for (const { forwardBackward, optimStep } of steps) {
      loss += (await forwardBackward).metrics['loss:sum']!
      await optimStep
    }
    const saved = await training.saveState(`${RUN}-epoch-${epoch}`)
    const mean = loss / completions.flat().length
    console.log(`epoch ${String(epoch).padStart(2)}  loss ${mean.toFixed(4)}  saved ${saved.path}`)
  }
  return (await training.saveWeightsForSampler(RUN)).path
}

async function evaluate(sampler: SamplingClient): Promise<string> {
  const tokenizer = await sampler.getTokenizer()
  const samplingParams = { maxTokens: 32, temperature: 0 }
  const answers = await Promise.all(
    EXAM.map(async ({ query }) => {
      const prompt = ModelInput.fromInts(promptOf(tokenizer, query))
      const { sequences } = await sampler.sample({ prompt, samplingParams })
      return tokenizer.decode(sequences[0]!.tokens, { skipSpecialTokens: true })
    }),
  )
  for (const [i, { query }] of EXAM.entries()) console.log(`  ${query} -> ${answers[i]}`)
  return `${EXAM.filter(({ response }, i) => response === answers[i]).length} of ${EXAM.length}`
}

const service = initTinkerCompatClient()
console.log('before:', await evaluate(await service.createSamplingClient({ baseModel: BASE_MODEL })))
const weights = await train(service)
console.log('after: ', await evaluate(await service.createSamplingClient({ modelPath: weights })))
console.log('weights:', weights)
await service.close()
